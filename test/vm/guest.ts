// A program in the guest: node guest.ts [PART...] runs these parts, or all. One process for everything, because a start of
// Node is what costs most under emulation.
import { errorText } from '../../src/core/errors.ts';
import { attacks } from './attacks.ts';
import type { Check } from './check.ts';
import { netd } from './netd.ts';
import { network } from './network.ts';
import { networkd } from './networkd.ts';
import { reload } from './reload.ts';
import { rules } from './rules.ts';
import { units } from './units.ts';

const PARTS: Readonly<Record<string, (check: Check) => Promise<void>>> = {
  rules,
  network,
  attacks,
  reload,
  netd,
  networkd,
  units,
};

const say = (line: string): void => void process.stdout.write(`VM ${line}\n`);

const check: Check = async (name, act) => {
  const begin = performance.now();
  try {
    const figures = (await act()) ?? '';
    const took = ((performance.now() - begin) / 1_000).toFixed(1);
    say(`ok ${name}${figures === '' ? '' : `: ${figures}`} (${took} s)`);
  } catch (error) {
    say(`not ok ${name}: ${errorText(error).split('\n').slice(0, 6).join(' | ')}`);
  }
};

const wanted = process.argv.slice(2);
for (const name of wanted) if (!(name in PARTS)) say(`not ok there is no part ${name}`);
for (const [name, part] of Object.entries(PARTS)) {
  if (wanted.length === 0 || wanted.includes(name)) await part(check);
}
