"""All values of a device of modbus.test.ts by the point's name, as pymodbus 3.0.0 reads them: `read-all.py PORT UNIT`."""
import json
import sys
import types

# pymodbus imports these for serial lines, which nobody uses here, and Debian does not install them along with it.
for missing in ("serial", "serial_asyncio"):
    module = types.ModuleType(missing)
    module.create_serial_connection = None
    sys.modules.setdefault(missing, module)

from pymodbus.client import ModbusTcpClient
from pymodbus.payload import BinaryPayloadDecoder
from pymodbus.constants import Endian
port, unit = int(sys.argv[1]), int(sys.argv[2])
client = ModbusTcpClient('127.0.0.1', port=port, timeout=3)
assert client.connect()
registers = client.read_input_registers(0, 61, slave=unit).registers
def swapped(words):
    return [(w & 0xff) << 8 | w >> 8 for w in words]
def decoder(first, count, order):
    words = registers[first:first + count]
    if order in ('BADC', 'DCBA'): words = swapped(words)
    if order in ('CDAB', 'DCBA'): words = words[::-1]
    return BinaryPayloadDecoder.fromRegisters(words, byteorder=Endian.Big, wordorder=Endian.Big)
def bcd(first, count, order):
    words = registers[first:first + count]
    if order == 'CDAB': words = words[::-1]
    return int(''.join('%04x' % w for w in words))
def text(first, count, swap=False):
    words = registers[first:first + count]
    if swap: words = swapped(words)
    return b''.join(w.to_bytes(2, 'big') for w in words).rstrip(b'\0').decode()
holding = client.read_holding_registers(10, 92, slave=unit).registers
flags = client.read_holding_registers(100, 2, slave=unit).registers
assert holding[90:] == flags
coils = client.read_coils(3, 2, slave=unit).bits
out = {
    'i16': decoder(0, 1, 'ABCD').decode_16bit_int(),
    'u16': decoder(1, 1, 'BADC').decode_16bit_uint(),
    'i32': decoder(2, 2, 'CDAB').decode_32bit_int(),
    'u32': decoder(4, 2, 'DCBA').decode_32bit_uint(),
    'f32': decoder(6, 2, 'ABCD').decode_32bit_float(),
    'f32-swapped': decoder(8, 2, 'CDAB').decode_32bit_float(),
    'f32-bytes': decoder(10, 2, 'BADC').decode_32bit_float(),
    'f32-little': decoder(12, 2, 'DCBA').decode_32bit_float(),
    'f64': decoder(14, 4, 'ABCD').decode_64bit_float(),
    'f64-little': decoder(18, 4, 'DCBA').decode_64bit_float(),
    'i64': decoder(22, 4, 'CDAB').decode_64bit_int(),
    'u64': decoder(26, 4, 'ABCD').decode_64bit_uint(),
    'bcd16': bcd(30, 1, 'ABCD'),
    'bcd32': bcd(31, 2, 'CDAB'),
    'serial': text(33, 8),
    'label': text(41, 3, True),
    'last': registers[60],
    'flag-0': bool(flags[0] & 1),
    'flag-9': bool(flags[0] >> 9 & 1),
    'flag-swapped': bool(swapped(flags)[1] >> 2 & 1),
    'setpoint': BinaryPayloadDecoder.fromRegisters(holding[0:2], byteorder=Endian.Big, wordorder=Endian.Big).decode_32bit_float(),
    'speed': holding[2],
    'motor': coils[0],
    'pump': coils[1],
    'door': client.read_discrete_inputs(7, 1, slave=unit).bits[0],
}
json.dump(out, sys.stdout)
