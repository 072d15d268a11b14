import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { errorText, SluiceError } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { Firewall } from '../netd/firewall.ts';
import type { Island } from '../netd/island.ts';
import type { Proven } from '../netd/outcome.ts';
import { addressText } from '../segmentation/addresses.ts';
import { etherText, inQuarantine, type Packet, packetText } from '../segmentation/packet.ts';
import { filteredText } from '../segmentation/filter-text.ts';
import { mergedListings } from '../segmentation/listing.ts';
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
  const { proof, island } =
    listing === undefined ? await inKernel(file, policy) : await inListing(listing, policy);
  process.stdout.write(json ? `${JSON.stringify(forMachine(proof))}\n` : forPerson(proof, policy, island));
  return proof.proven ? 0 : 1;
}

async function inKernel(file: string, policy: Policy): Promise<Proven> {
  const { gateway } = await loadConfig(file);
  return new Firewall(gateway.data).prove(policy);
}

/** A listing from elsewhere is compared with the file alone. */
async function inListing(listing: string, policy: Policy): Promise<Proven> {
  return { proof: prove(policy, await listed(listing), epochMs(Date.now())), island: undefined };
}

async function listed(file: string): Promise<string> {
  const isInput = file === STANDARD_INPUT;
  try {
    return together(isInput ? await text(process.stdin) : await readFile(file, 'utf8'));
  } catch (error) {
    throw new SluiceError(
      'SETUP',
      `cannot read the listing ${isInput ? 'on standard input' : file}: ${errorText(error)}`,
      {
        cause: error,
        remedy: 'nft -j list table inet sluice prints it',
      },
    );
  }
}

/** What nft printed of two tables, one after the other, is a document a line. */
function together(listings: string): string {
  const documents = listings.trim().split(/\n(?=\{)/);
  return documents.length === 2 && documents.every((one) => one.startsWith('{"nftables"'))
    ? (mergedListings(documents) ?? listings)
    : listings;
}

function forPerson(proof: Proof, { mode }: Policy, island: Island | undefined): string {
  if (proof.proven) {
    const filtered = proof.filtered.length === 0 ? '' : `${filteredText(proof.filtered)}\n`;
    const witnesses = `${proof.witnesses.length} packets of the flows pass`;
    return `proven: the kernel accepts exactly what is declared (${island ? 'as an island' : `mode ${mode}`}, ${proof.boxes} boxes; ${witnesses})\n${filtered}`;
  }
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
    return `not proven: frames at the access ports do not fare as declared, one for each way\n${frames.join('\n')}\n`;
  }
  const lines = proof.differences.map((difference) => visible(`  ${differenceText(difference)}`));
  return `not proven: the kernel does not hold what is declared, one packet for each way\n${lines.join('\n')}\n`;
}

function differenceText({ packet, declared, outcome, rule }: Difference): string {
  const meant = declared ? 'is declared' : 'is not declared';
  const done = { accept: 'passes', 'would deny': 'passes with an objection', drop: 'is dropped' }[outcome];
  return `${packetText(packet)}: ${meant} and ${done}, by ${rule}`;
}

function forMachine(proof: Proof): object {
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
