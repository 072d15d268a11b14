import t from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import { adu, exceptionReply, registersReply } from '../support/hostile-modbus.ts';
import { never } from '../support/modbus-line.ts';
import type { PointSketch } from '../support/modbus-points.ts';
import { scene } from '../support/modbus-scene.ts';

const WRITES: readonly (readonly [
  string,
  PointSketch,
  PointValue,
  readonly number[],
  readonly number[][],
])[] = [
  [
    'a coil',
    { table: 'coil', address: 0xac },
    true,
    [5, 0, 0xac, 0xff, 0], // 6.5, the example
    [
      [5, 0, 0xad, 0xff, 0],
      [5, 0, 0xac, 0, 0],
      [5, 0, 0xac, 0xff, 1],
      [5, 0, 0xac, 0xff],
      [5, 0, 0xac, 0xff, 0, 0],
      [6, 0, 0xac, 0xff, 0],
    ],
  ],
  [
    'a register',
    { address: 1 },
    3,
    [6, 0, 1, 0, 3], // 6.6, the example
    [
      [6, 0x99, 0x99, 0, 3],
      [6, 0, 1, 0, 4],
      [6, 0, 1, 0],
      [16, 0, 1, 0, 1],
    ],
  ],
  [
    'two registers',
    { address: 1, type: 'uint32' },
    0x000a_0102,
    [16, 0, 1, 0, 2, 4, 0, 0x0a, 1, 2], // 6.12, the example
    [
      [16, 0, 2, 0, 2],
      [16, 0, 1, 0, 1],
      [16, 0, 1, 0, 2, 4],
      [3, 4, 0, 1, 0, 2],
    ],
  ],
  [
    'a bit of a register',
    { address: 4, bit: 1 },
    true,
    [22, 0, 4, 0xff, 0xfd, 0, 2], // 6.16
    [
      [22, 0, 4, 0xff, 0xfd, 0, 3],
      [22, 0, 4, 0xff, 0xfd],
      [6, 0, 4, 0, 2],
    ],
  ],
];

for (const [what, point, value, expected, falseEchoes] of WRITES) {
  t.test(`a write of ${what} is believed only with its echo`, async (t) => {
    let echo: readonly number[] = [];
    const { peer, line } = await scene(t, (request) => request.socket.write(adu(request, echo)), [point]);
    const echoLength = expected[0] === 22 ? 7 : 5;

    for (echo of falseEchoes) {
      await t.rejects(line.write(0, value, never), { code: 'REPLY_MISMATCH' }, echo.join(' '));
    }
    echo = expected.slice(0, echoLength);
    await line.write(0, value, never);

    for (const { pdu } of peer.requests) t.strictSame([...pdu], expected);
  });
}

t.test('a refused write names the exception; an acknowledged one is not repeated', async (t) => {
  let code = 3;
  const { peer, line } = await scene(t, (request) => request.socket.write(exceptionReply(request, code)));

  await t.rejects(line.write(0, 5, never), { code: 'DEVICE_REFUSED', message: /illegal data value/ });
  code = 5;
  await line.write(0, 5, never);

  t.equal(peer.requests.length, 2);
});

t.test('a device without the single writes and the mask write gets what it knows', async (t) => {
  const known = new Set([3, 15, 16]);
  const points: readonly PointSketch[] = [
    { table: 'coil', address: 3 },
    { address: 4 },
    { address: 5, bit: 9 },
  ];
  const { peer, line } = await scene(
    t,
    (request) => {
      const code = request.pdu[0] ?? 0;
      if (!known.has(code)) request.socket.write(exceptionReply(request, 1));
      else if (code === 3) request.socket.write(registersReply(request, 0x0101));
      else request.socket.write(adu(request, [...request.pdu.subarray(0, 5)]));
    },
    points,
  );

  await line.write(0, true, never);
  await line.write(1, 77, never);
  await line.write(2, true, never);

  const done = peer.requests.filter(({ pdu }) => known.has(pdu[0] ?? 0)).map(({ pdu }) => [...pdu]);
  t.strictSame(done, [
    [15, 0, 3, 0, 1, 1, 1],
    [16, 0, 4, 0, 1, 2, 0, 77],
    [3, 0, 5, 0, 1],
    [16, 0, 5, 0, 1, 2, 3, 1],
  ]);
});

t.test('two bits of one register are never written half-way into each other', async (t) => {
  let register = 0;
  const points: readonly PointSketch[] = [
    { address: 5, bit: 0 },
    { address: 5, bit: 1 },
  ];
  const { line } = await scene(
    t,
    (request) => {
      const code = request.pdu[0] ?? 0;
      if (code === 22) return request.socket.write(exceptionReply(request, 1));
      if (code === 3) return request.socket.write(registersReply(request, register));
      register = request.pdu.readUInt16BE(3);
      return request.socket.write(adu(request, [...request.pdu]));
    },
    points,
    { inFlight: 8 },
  );

  await Promise.all([line.write(0, true, never), line.write(1, true, never)]);

  t.equal(register, 3);
});
