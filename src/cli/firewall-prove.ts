import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { errorText, SluiceError } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { Firewall } from '../netd/firewall.ts';
import type { Proven } from '../netd/outcome.ts';
import { addressText } from '../segmentation/addresses.ts';
import { etherText, inQuarantine, type Packet, packetText } from '../segmentation/packet.ts';
import { filteredText } from '../segmentation/filter-text.ts';
import { hasTable, ownListing } from '../segmentation/listing.ts';
import type { Policy } from '../segmentation/policy.ts';
import { type Difference, type Proof, prove } from '../segmentation/prove.ts';
import { declaredPolicy } from './declared-policy.ts';
import { loadConfig } from './load.ts';

const STANDARD_INPUT = '-';

/**
 * Proves what the kernel of this machine holds, or a listing from elsewhere, and prints; exit status 0 where it is proven,
 * 1 where it is not.
 */
export async function runProve(file: string, listing: string | undefined, json: boolean): Promise<number> {
  const policy = await declaredPolicy(file);
  const proven = listing === undefined ? await inKernel(file, policy) : await inListing(listing, policy);
  const where = listing === undefined ? 'kernel' : 'listing';
  process.stdout.write(json ? `${JSON.stringify(forMachine(proven))}\n` : forPerson(proven, policy, where));
  return proven.proof.proven ? 0 : 1;
}

async function inKernel(file: string, policy: Policy): Promise<Proven> {
  const { gateway } = await loadConfig(file);
  return new Firewall(gateway.data).prove(policy);
}

/** A listing from elsewhere is compared with the file alone. */
async function inListing(listing: string, policy: Policy): Promise<Proven> {
  const own = ownListing(await listed(listing));
  return { proof: prove(policy, own, epochMs(Date.now())), loaded: hasTable(own), island: undefined };
}

async function listed(file: string): Promise<string> {
  const isInput = file === STANDARD_INPUT;
  try {
    return isInput ? await text(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new SluiceError(
      'SETUP',
      `cannot read the listing ${isInput ? 'on standard input' : file}: ${errorText(error)}`,
      {
        cause: error,
        remedy: 'TZ=UTC nft -j list ruleset prints it',
      },
    );
  }
}

function forPerson({ proof, island, loaded }: Proven, { mode }: Policy, where: 'kernel' | 'listing'): string {
  if (proof.proven) {
    const filtered = proof.filtered.length === 0 ? '' : `${filteredText(proof.filtered)}\n`;
    const witnesses = `${proof.witnesses.length} packets of the flows pass`;
    return `proven: the kernel accepts exactly what is declared (${island ? 'as an island' : `mode ${mode}`}, ${proof.boxes} boxes; ${witnesses})\n${filtered}`;
  }
  if (!loaded) return `not proven: no rules are loaded: the ${where} has no table inet sluice\n`;
  if ('notUnderstood' in proof) {
    const lines = proof.notUnderstood.map(({ place, what }) => visible(`  ${place} ${what}`));
    return `not proven: the listing holds what this version does not understand\n${lines.join('\n')}\n`;
  }
  if ('frames' in proof) {
    const frames = proof.frames.map(({ frame, declared, rule }) =>
      visible(
        `  ${frame}: ${declared ? 'is declared and does not pass' : 'is not declared and passes'}, by ${rule}`,
      ),
    );
    const hint = where === 'listing' ? 'a listing has to hold both tables: TZ=UTC nft -j list ruleset\n' : '';
    return `not proven: frames at the access ports do not fare as declared, one for each way\n${frames.join('\n')}\n${hint}`;
  }
  const lines = proof.differences.map((difference) => visible(`  ${differenceText(difference)}`));
  return `not proven: the kernel does not hold what is declared, one packet for each way\n${lines.join('\n')}\n`;
}

function differenceText({ packet, declared, outcome, rule }: Difference): string {
  const meant = declared ? 'is declared' : 'is not declared';
  const done = { accept: 'passes', 'would deny': 'passes with an objection', drop: 'is dropped' }[outcome];
  return `${packetText(packet)}: ${meant} and ${done}, by ${rule}`;
}

function forMachine({ proof, loaded }: Proven): object {
  return { ...proofFor(proof), loaded };
}

function proofFor(proof: Proof): object {
  if (proof.proven) {
    const witnesses = proof.witnesses.map((witness) => ({
      ...witness,
      packet: packetRecord(witness.packet),
    }));
    return { ...proof, witnesses };
  }
  if ('notUnderstood' in proof) return { proven: false, 'not-understood': proof.notUnderstood };
  if ('frames' in proof) return { proven: false, frames: proof.frames };
  const differences = proof.differences.map((one) => ({ ...one, packet: packetRecord(one.packet) }));
  return { proven: false, differences };
}

function packetRecord(packet: Packet): object {
  const { source, destination, port, ether, hopLimit, reversePath, quarantine, ...more } = packet;
  const { originalDestination = destination, originalPort = port, ...rest } = more;
  return {
    ...rest,
    source: addressText(source),
    destination: addressText(destination),
    port: port < 0 ? null : port,
    'hop-limit': hopLimit,
    ether: ether < 0 ? null : etherText(ether),
    'reverse-path': reversePath,
    quarantine: inQuarantine(quarantine),
    'original-destination': addressText(originalDestination),
    'original-port': originalPort < 0 ? null : originalPort,
  };
}
