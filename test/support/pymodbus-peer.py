"""A slave and a master of pymodbus 3.0.0 for the interop tests: `slave PORT [rtu]`, `read PORT ADDRESS TYPE ORDER`."""
import asyncio
import json
import sys
import types

# pymodbus imports these for serial lines, which nobody uses here, and Debian does not install them along with it.
for missing in ("serial", "serial_asyncio"):
    module = types.ModuleType(missing)
    module.create_serial_connection = None
    sys.modules.setdefault(missing, module)

from pymodbus.client import ModbusTcpClient
from pymodbus.constants import Endian
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.payload import BinaryPayloadBuilder, BinaryPayloadDecoder
from pymodbus.server.async_io import ModbusTcpServer
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer

ORDERS = {
    "ABCD": (Endian.Big, Endian.Big),
    "CDAB": (Endian.Big, Endian.Little),
    "BADC": (Endian.Little, Endian.Big),
    "DCBA": (Endian.Little, Endian.Little),
}
TYPES = {
    "int16": ("16bit_int", -12345),
    "uint16": ("16bit_uint", 54321),
    "int32": ("32bit_int", -1234567890),
    "uint32": ("32bit_uint", 3456789012),
    "int64": ("64bit_int", -1234567890123456),
    "uint64": ("64bit_uint", 18446744073709551557),
    "float32": ("32bit_float", 230.1),
    "float64": ("64bit_float", 2.718281828459045),
}


def slave(port, framer):
    registers = [0] * 1000
    layout = []
    address = 100
    for order, (byte, word) in ORDERS.items():
        for name, (method, value) in TYPES.items():
            builder = BinaryPayloadBuilder(byteorder=byte, wordorder=word)
            getattr(builder, "add_" + method)(value)
            words = builder.to_registers()
            registers[address : address + len(words)] = words
            layout.append({"address": address, "type": name, "order": order, "value": str(value)})
            address += len(words)
    builder = BinaryPayloadBuilder(byteorder=Endian.Big)
    builder.add_string("PowerLogic")
    words = builder.to_registers()
    registers[address : address + len(words)] = words
    layout.append({"address": address, "type": "string", "order": "ABCD", "value": "PowerLogic"})
    bits = [i % 3 == 0 for i in range(3000)]

    def unit():
        return ModbusSlaveContext(
            co=ModbusSequentialDataBlock(0, list(bits)),
            di=ModbusSequentialDataBlock(0, [not bit for bit in bits]),
            hr=ModbusSequentialDataBlock(0, list(registers)),
            ir=ModbusSequentialDataBlock(0, list(reversed(registers))),
            zero_mode=True,
        )

    async def run():
        context = ModbusServerContext(slaves={1: unit(), 2: unit()}, single=False)
        server = ModbusTcpServer(context, framer=framer, address=("127.0.0.1", port), allow_reuse_address=True)
        task = asyncio.ensure_future(server.serve_forever())
        await server.serving
        print("layout " + json.dumps(layout), flush=True)
        await task

    asyncio.run(run())


def read(port, address, name, order):
    byte, word = ORDERS[order]
    client = ModbusTcpClient("127.0.0.1", port)
    client.connect()
    reply = client.read_holding_registers(address, 4, slave=1)
    client.close()
    decoder = BinaryPayloadDecoder.fromRegisters(reply.registers, byteorder=byte, wordorder=word)
    print(getattr(decoder, "decode_" + TYPES[name][0])())


if sys.argv[1] == "slave":
    slave(int(sys.argv[2]), ModbusRtuFramer if "rtu" in sys.argv else ModbusSocketFramer)
else:
    read(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
