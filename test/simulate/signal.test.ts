import t from 'tap';
import { type EpochMs, epochMs } from '../../src/core/units.ts';
import { signalAt, tickOf } from '../../src/simulate/signal.ts';
import { configOf, pointNamed } from './support.ts';

const config = configOf(`
gateway: { id: g, data: ./data }
zones: { z: { vlan: 20, subnet: 127.0.0.0/8 } }
classes:
  c:
    zone: z
    protocol: modbus
    points:
      voltage: { at: "input:0:float32", unit: V }
      temperature: { at: "input:2:int16", unit: °C, scale: 0.1, offset: -40 }
      position: { at: "input:3:uint16", unit: mm, scale: 0.01, span: [0, 300] }
      energy: { at: "input:4:uint32", unit: kWh, scale: 0.1 }
      strokes: { at: "input:6:uint16", unit: strokes }
      digits: { at: "input:7:bcd16" }
      serial: { at: "input:8:string(6)" }
      running: { at: "discrete:0" }
      setpoint: { at: "holding:0:float32", writable: true, min: 5, max: 80 }
  k:
    zone: z
    protocol: coap
    points: { level: { at: /level, unit: m } }
devices:
  a: { class: c, at: "modbus-tcp://127.0.0.1:1502" }
  b: { class: c, at: "modbus-tcp://127.0.0.2:1502" }
  c: { class: k, at: "coap://127.0.0.3" }
`);
const start = Date.UTC(2027, 3, 5, 6, 7, 8);
const hour: readonly EpochMs[] = Array.from({ length: 3_600 }, (_, i) => epochMs(start + i * 1_000));
const seriesOf = (device: string, name: string, seed = 1) =>
  hour.map((time) => signalAt(pointNamed(config, device, name), time, seed));
const told = (device: string, seed = 1) => JSON.stringify(seriesOf(device, 'voltage', seed));
const numbers = (device: string, name: string) => seriesOf(device, name).map(Number);

t.test('a signal depends on point, second and seed alone', (t) => {
  const voltage = pointNamed(config, 'a', 'voltage');

  t.equal(signalAt(voltage, epochMs(start), 1), signalAt(voltage, epochMs(start + 999), 1));
  t.equal(tickOf(start + 999), start);
  t.equal(told('a'), told('a'));
  t.not(told('a'), told('a', 2));
  t.not(told('a'), told('b'));
  t.end();
});

t.test('a voltage is one, a temperature drifts slowly, a position stays in its span', (t) => {
  t.ok(numbers('a', 'voltage').every((value) => value > 220 && value < 240));
  const temperatures = numbers('a', 'temperature');
  const steps = temperatures.slice(1).map((value, i) => Math.abs(value - (temperatures[i] ?? 0)));
  t.ok(Math.max(...steps) < 1, `largest step ${Math.max(...steps)}`);
  t.ok(new Set(temperatures).size > 20, 'it moves');
  t.ok(numbers('a', 'position').every((value) => value >= 0 && value <= 300));
  t.ok(numbers('c', 'level').every((value) => value > 0 && value < 5));
  t.end();
});

t.test('a counter only grows, and a small one starts again at zero', (t) => {
  const energy = numbers('a', 'energy');
  t.ok(energy.every((value, i) => i === 0 || value >= (energy[i - 1] ?? 0)));
  t.ok((energy.at(-1) ?? 0) > (energy[0] ?? 0));

  const strokes = pointNamed(config, 'a', 'strokes');
  const days = Array.from({ length: 60 }, (_, day) =>
    Number(signalAt(strokes, epochMs(start + day * 3_600_000), 1)),
  );
  t.ok(days.every((value) => Number.isInteger(value) && value >= 0 && value <= 65_535));
  t.ok(
    days.some((value, i) => value < (days[i - 1] ?? 0)),
    'it went over its end',
  );
  t.end();
});

t.test('what is told is what the register holds', (t) => {
  t.ok(numbers('a', 'voltage').every((value) => Number(Math.fround(value).toPrecision(6)) === value));
  t.ok(numbers('a', 'temperature').every((value) => /^-?\d+(\.\d)?$/.test(String(value))));
  t.ok(numbers('a', 'digits').every((value) => Number.isInteger(value) && value >= 0 && value <= 9_999));
  t.match(signalAt(pointNamed(config, 'a', 'serial'), epochMs(start), 1), /^SN-[0-9A-F]{3}$/);
  t.end();
});

t.test('a switch is on for a while and off for a while; a writable point holds still', (t) => {
  const running = seriesOf('a', 'running');
  const changes = running.filter((value, i) => i > 0 && value !== running[i - 1]).length;
  t.ok(changes > 10 && changes < 200, `${changes} changes an hour`);

  const setpoints = new Set(numbers('a', 'setpoint'));
  t.equal(setpoints.size, 1);
  t.ok([...setpoints].every((value) => value >= 5 && value <= 80));
  t.end();
});
