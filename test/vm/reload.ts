import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { bring } from '../../src/netd/bring.ts';
import { Nft } from '../../src/netd/nft.ts';
import { NARROW } from '../netd/reload-plant.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';
import { be, type Check, sh } from './check.ts';

// Packets through the gateway while its rules change: this kernel loses thousands where an interval map is flushed and
// filled again, and newer ones do not show that.

/** Packets a second to each of three ports; an emulated processor carries them without losing one by itself. */
const RATE = '200';
/** Elements of the interval map that go and come in one change. */
const BULK = 250;
const BULK_CHANGES = 2;
const SMALL_CHANGES = 4;
const PORTS = ['6000', '6100', '7000'];

function plant(count: number, first: number): string {
  const ports = Array.from({ length: count }, (_, i) => {
    const [low, one] = [10_000 + 40 * i + first, 10_000 + i + first];
    return `udp/${low}-${low + 9}, tcp/${one}`;
  });
  const more =
    count === 0
      ? ''
      : `  - { from: supervision, to: control, allow: [${ports.join(', ')}], only: { from: [10.20.40.6], to: [10.20.10.8] }, because: "more" }\n`;
  return `${NARROW}${more}`;
}

const BED = `
sysctl -qw net.ipv4.ip_forward=1 net.core.netdev_max_backlog=100000 net.core.rmem_max=67108864
for peer in control:10:9 supervision:40:5; do
  name=\${peer%%:*}; rest=\${peer#*:}; vlan=\${rest%:*}; host=\${rest#*:}
  ip netns add $name
  ip link add vlan$vlan type veth peer name eth0 netns $name
  ip address add 10.20.$vlan.1/24 dev vlan$vlan; ip link set vlan$vlan up
  ip -n $name address add 10.20.$vlan.$host/24 dev eth0; ip -n $name link set eth0 up
  ip -n $name route add default via 10.20.$vlan.1
done`;

export async function reload(check: Check): Promise<void> {
  const nft = new Nft();
  await check('reload: a gateway between two networks', () => void sh(BED));
  const [narrow, some] = [rulesOf(plant(0, 0)), rulesOf(plant(50, 0))];
  const [one, other] = [rulesOf(plant(BULK, 0)), rulesOf(plant(BULK, 20))];
  const first = (document: string) => async () => void (await bring(nft, document));
  const rounds: readonly [string, () => Promise<void>, readonly string[]][] = [
    ['reload: nothing changes', first(narrow), []],
    ['reload: 50 elements of each map', first(narrow), alternating(SMALL_CHANGES, some, narrow)],
    [`reload: ${BULK} of ${BULK} others of each map`, first(one), alternating(BULK_CHANGES, other, one)],
  ];
  for (const [name, before, documents] of rounds) {
    await check(name, async () => {
      await before();
      return loadedWith(async () => {
        for (const document of documents) {
          const { replaces, complaints } = await bring(nft, document);
          be(replaces.length + complaints.length === 0, [...replaces, ...complaints].join('; '));
        }
      });
    });
  }
  sh('ip netns delete control; ip netns delete supervision; nft flush ruleset');
}

const alternating = (times: number, ...documents: readonly string[]): string[] =>
  Array.from({ length: times }, (_, i) => documents[i % documents.length] ?? '');

/** Nothing that is allowed is lost and nothing that is denied gets through while this is done. */
async function loadedWith(act: () => Promise<void>): Promise<string> {
  const stop = '/run/stop';
  rmSync(stop, { force: true });
  const counter = packets('control', 'count', stop);
  await until('a receiver', () => counter.text() !== '', 60_000);
  const sender = packets('supervision', 'send', stop);
  try {
    await until('traffic', () => /packets [1-9]\d\d/.test(sh('nft list table inet sluice')), 60_000);
    await act();
  } finally {
    writeFileSync(stop, '');
  }
  const [sent, arrived] = [await sender.figures(), await counter.figures()];
  const [lost1, lost2] = [0, 1].map((i) => (sent[i] ?? 0) - (arrived[i] ?? 0));
  const told = `of ${sent[0]} by the interval map ${lost1} lost, of ${sent[1]} by the hash map ${lost2}, of ${sent[2]} denied ${arrived[2]} leaked`;
  be(lost1 === 0 && lost2 === 0 && arrived[2] === 0, told);
  return told;
}

function packets(host: string, role: string, stop: string) {
  const child = spawn('ip', ['netns', 'exec', host, 'python3', 'test/vm/packets.py', role, stop, ...PORTS], {
    env: { ...process.env, RATE },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const closed = once(child, 'close');
  return {
    text: () => text,
    figures: async (): Promise<number[]> => {
      await closed;
      return (text.trim().split('\n').at(-1) ?? '').split(' ').map(Number);
    },
  };
}
