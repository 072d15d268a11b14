import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { type Duration, seconds } from '../core/units.ts';

/** Connections without a certificate yet. A handshake takes some ten milliseconds: so many wait only in an attack. */
export const MAX_HANDSHAKES = 32;
/** From the first byte to the last. Node's own time-out begins anew with every byte, and closes nothing. */
const HANDSHAKE_WITHIN: Duration = seconds(10);

/** What tells one connection from another, on the TCP socket and on the TLS socket around it. */
interface Ends {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/**
 * Connections whose handshake is under way. Anybody who reaches the port can open them, so they are bounded in number
 * and time; where there are too many, the oldest of the address with the most makes room for the new one.
 */
export class Handshakes {
  readonly #clock: Clock;
  readonly #onEnded: (kind: 'late' | 'crowded') => void;
  readonly #waiting = new Map<string, Socket>();

  constructor(clock: Clock, onEnded: (kind: 'late' | 'crowded') => void) {
    this.#clock = clock;
    this.#onEnded = onEnded;
  }

  begin(socket: Socket): void {
    const key = keyOf(socket);
    const over = new AbortController();
    const late = (): void => {
      if (this.#waiting.get(key) === socket) this.#end(key, 'late');
    };
    this.#clock.sleep(HANDSHAKE_WITHIN, over.signal).then(late, () => {});
    socket.once('close', () => {
      over.abort();
      if (this.#waiting.get(key) === socket) this.#waiting.delete(key);
    });
    if (this.#waiting.size >= MAX_HANDSHAKES) this.#end(this.#mostCrowded(), 'crowded');
    this.#waiting.set(key, socket);
  }

  finished(socket: Ends): void {
    this.#waiting.delete(keyOf(socket));
  }

  close(): void {
    for (const socket of this.#waiting.values()) socket.destroy();
  }

  #end(key: string, kind: 'late' | 'crowded'): void {
    const socket = this.#waiting.get(key);
    if (socket === undefined) return;
    this.#waiting.delete(key);
    this.#onEnded(kind);
    socket.destroy();
  }

  /** The oldest connection of the address that has the most. */
  #mostCrowded(): string {
    const counts = new Map<string | undefined, number>();
    for (const { remoteAddress } of this.#waiting.values()) {
      counts.set(remoteAddress, (counts.get(remoteAddress) ?? 0) + 1);
    }
    const most = Math.max(...counts.values());
    for (const [key, { remoteAddress }] of this.#waiting) if (counts.get(remoteAddress) === most) return key;
    return '';
  }
}

const keyOf = ({ remoteAddress, remotePort }: Ends): string => `${remoteAddress} ${remotePort}`;
