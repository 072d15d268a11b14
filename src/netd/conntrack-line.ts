import type { Connection } from '../segmentation/connections.ts';

// `conntrack -L -o extended,id`: `ipv4 2 tcp 6 599 ESTABLISHED src=… dst=… sport=… dport=… [UNREPLIED] src=… … id=…`.

/** Undefined for a line that is no entry. */
export function parseConnection(line: string): Connection | undefined {
  const words = line.split(' ').filter((word) => word !== '');
  const [family, , , protocol] = words;
  if (family !== 'ipv4' && family !== 'ipv6') return undefined;
  const first = new Map<string, string>();
  const second = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf('=');
    if (at < 0) continue;
    const key = word.slice(0, at);
    (first.has(key) ? second : first).set(key, word.slice(at + 1));
  }
  const [source, destination, answers] = [first.get('src'), first.get('dst'), second.get('src')];
  if (source === undefined || destination === undefined || answers === undefined) return undefined;
  return {
    family: family === 'ipv4' ? 4 : 6,
    protocol: Number(protocol),
    source,
    destination,
    sourcePort: number(first, first.has('srckey') ? 'srckey' : 'sport'),
    destinationPort: number(first, first.has('dstkey') ? 'dstkey' : 'dport'),
    icmp: first.has('type')
      ? { type: number(first, 'type'), code: number(first, 'code'), id: icmpId(line) }
      : undefined,
    answers: { address: answers, port: number(second, 'sport') },
    answered: !words.includes('[UNREPLIED]'),
    trackingZone: number(first, 'zone'),
    id: Number(/ id=(\d+)$/.exec(line.trimEnd())?.[1] ?? 0),
  };
}

const number = (from: ReadonlyMap<string, string>, key: string): number => Number(from.get(key) ?? 0);

/** That of the echo stands behind its code, that of the entry at the end. */
const icmpId = (line: string): number => Number(/code=\d+ id=(\d+)/.exec(line)?.[1] ?? 0);
