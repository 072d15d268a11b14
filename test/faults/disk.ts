import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Call } from './trace.ts';

/**
 * When is a name (a file made, renamed or removed) safe?
 * - `at once`: it always is.
 * - `journal`: with the next fsync of anything, and in order, as ext4 and XFS do it.
 * - `strict`: with the fsync of its folder and not before, which is all that POSIX promises.
 */
export type Names = 'at once' | 'journal' | 'strict';

export interface Model {
  readonly names: Names;
  /** An fsync that these files are not flushed by: what a disk does that lies, or SQLite with synchronous=NORMAL. */
  readonly lies?: (path: string) => boolean;
}

type Random = () => number;

const SECTOR = 512;
/** How much of what was not flushed is on the disk all the same. */
const SHARES = [0, 0.3, 0.7, 1];
const TORN = 0.2;
/** A write whose data are missing may have made the file longer. */
const GREW = 0.25;

type Change = { readonly at: number; readonly bytes: Buffer } | { readonly size: number };

/** A file, whatever its name. */
class Inode {
  /** What is safe. */
  safe: Content;
  /** What the process sees. */
  readonly live: Content;
  /** Changes since, in order; the first has number `#flushed`. */
  #pending: Change[] = [];
  #flushed = 0;

  constructor(content: Buffer) {
    this.safe = new Content(content);
    this.live = new Content(content);
  }

  /** How many changes there ever were. */
  get changes(): number {
    return this.#flushed + this.#pending.length;
  }

  change(change: Change): void {
    this.live.apply(change);
    this.#pending.push(change);
  }

  flush(upTo: number): void {
    const count = upTo - this.#flushed;
    if (count <= 0) return;
    for (const change of this.#pending.splice(0, count)) this.safe.apply(change);
    this.#flushed = upTo;
  }

  /** What the disk may hold if the power fails now. */
  afterCut(random: Random): Buffer {
    const left = new Content(this.safe.bytes());
    const share = SHARES[Math.floor(random() * SHARES.length)] ?? 0;
    for (const change of shuffled(this.#pending, random))
      if (random() < share) left.apply('bytes' in change && random() < TORN ? torn(change, random) : change);
      else if ('bytes' in change && random() < GREW) left.grow(change.at + change.bytes.length);
    return left.bytes();
  }
}

/** Bytes that grow. */
class Content {
  #bytes: Buffer;
  #size: number;

  constructor(bytes: Buffer) {
    this.#bytes = Buffer.from(bytes);
    this.#size = bytes.length;
  }

  apply(change: Change): void {
    if ('size' in change) {
      this.grow(change.size);
      this.#bytes.fill(0, change.size, this.#size);
      this.#size = change.size;
      return;
    }
    this.grow(change.at + change.bytes.length);
    change.bytes.copy(this.#bytes, change.at);
  }

  grow(size: number): void {
    if (size > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(size, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.#size);
      this.#bytes = larger;
    }
    this.#size = Math.max(this.#size, size);
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size);
  }
}

/** A disk works in sectors: the first ones of a write are there, or the last ones. */
function torn({ at, bytes }: { at: number; bytes: Buffer }, random: Random): Change {
  const middle = Math.ceil(at / SECTOR) * SECTOR + SECTOR * Math.floor(random() * (bytes.length / SECTOR));
  const cut = Math.min(Math.max(0, middle - at), bytes.length);
  return random() < 0.5
    ? { at, bytes: bytes.subarray(0, cut) }
    : { at: at + cut, bytes: bytes.subarray(cut) };
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const keyed = list.map((value) => ({ value, key: random() }));
  return keyed.sort((a, b) => a.key - b.key).map(({ value }) => value);
}

const FOLDER = 'folder';
type Tree = Map<string, Inode | typeof FOLDER>;

interface NameChange {
  /** Counted from the start of the trace. */
  readonly number: number;
  readonly folder: string;
  readonly apply: (names: Tree) => void;
}

/** The files below a folder as a disk has them, while the calls of a process go by. */
export class SimulatedDisk {
  readonly #root: string;
  readonly #model: Model;
  readonly #live: Tree = new Map();
  readonly #safe: Tree = new Map();
  #pending: NameChange[] = [];
  readonly #open = new Map<number, { readonly path: string; readonly inode: Inode | typeof FOLDER }>();
  /** What an fsync that runs covers, by thread and descriptor. */
  readonly #syncing = new Map<string, { readonly changes: number; readonly names: number }>();
  #nameChanges = 0;

  /** The calls name files below `root`; what lies below `before` was there when they began, and is safe. */
  constructor(root: string, before: string, model: Model) {
    this.#root = root;
    this.#model = model;
    for (const entry of readdirSync(before, { recursive: true, withFileTypes: true })) {
      const lies = join(entry.parentPath, entry.name);
      const path = join(root, lies.slice(before.length));
      const found = entry.isDirectory() ? FOLDER : new Inode(readFileSync(lies));
      this.#live.set(path, found);
      this.#safe.set(path, found);
    }
  }

  apply(call: Call): void {
    switch (call.kind) {
      case 'open':
        return this.#opened(call);
      case 'write':
      case 'truncate':
        return this.#inode(call.fd)?.change(call.kind === 'write' ? call : { size: call.size });
      case 'rename':
        if (this.#live.get(call.path) === FOLDER) throw new Error(`a folder was renamed: ${call.path}`);
        return this.#name(call.to, (names) => {
          const inode = names.get(call.path);
          if (inode === undefined) return;
          names.delete(call.path);
          names.set(call.to, inode);
        });
      case 'unlink':
      case 'rmdir':
        return this.#name(call.path, (names) => names.delete(call.path));
      case 'mkdir':
        return this.#name(call.path, (names) => names.set(call.path, FOLDER));
      case 'sync begins':
        this.#syncing.set(`${call.thread} ${call.fd}`, {
          changes: this.#inode(call.fd)?.changes ?? 0,
          names: this.#nameChanges,
        });
        return undefined;
      case 'sync ended':
        return this.#synced(call.fd, call.thread);
      case 'mark':
        return undefined;
      default:
        return call satisfies never;
    }
  }

  /** Writes into `folder` what may be left of everything if the power fails now. */
  cut(folder: string, random: Random): void {
    const names = this.#namesAfterCut(random);
    for (const [path, inode] of names) {
      const place = join(folder, path.slice(this.#root.length));
      if (!hasFolder(names, this.#root, path)) continue;
      if (inode === FOLDER) {
        mkdirSync(place, { recursive: true });
        continue;
      }
      mkdirSync(dirname(place), { recursive: true });
      // What processes shared in memory is anything by now, and must not matter.
      const content = path.endsWith('-shm')
        ? rubbish(inode.live.bytes().length, random)
        : inode.afterCut(random);
      writeFileSync(place, content, { mode: 0o600 });
    }
  }

  /** Where the files below the root are not what the trace says, which means that it has missed something. */
  differences(): string[] {
    const found: string[] = [];
    for (const [path, inode] of this.#live) {
      const is = statSync(path, { throwIfNoEntry: false });
      if (is === undefined) found.push(`${path} is missing`);
      else if (inode !== FOLDER && !path.endsWith('-shm') && !inode.live.bytes().equals(readFileSync(path)))
        found.push(`${path} has other content`);
    }
    for (const name of readdirSync(this.#root, { recursive: true, encoding: 'utf8' }))
      if (!this.#live.has(join(this.#root, name))) found.push(`${name} was not seen`);
    return found;
  }

  #inode(fd: number): Inode | undefined {
    const inode = this.#open.get(fd)?.inode;
    return inode === FOLDER ? undefined : inode;
  }

  #opened({ fd, path, created }: Call & { readonly kind: 'open' }): void {
    let inode = path === this.#root ? FOLDER : this.#live.get(path);
    if (inode === undefined || created) {
      const made = new Inode(Buffer.alloc(0));
      this.#name(path, (names) => names.set(path, made));
      inode = made;
    }
    this.#open.set(fd, { path, inode });
  }

  #name(path: string, apply: (names: Tree) => void): void {
    apply(this.#live);
    if (this.#model.names === 'at once') apply(this.#safe);
    else this.#pending.push({ number: ++this.#nameChanges, folder: dirname(path), apply });
  }

  #synced(fd: number, thread: number): void {
    const covered = this.#syncing.get(`${thread} ${fd}`);
    const opened = this.#open.get(fd);
    if (covered === undefined || opened === undefined || this.#model.lies?.(opened.path) === true) return;
    if (opened.inode !== FOLDER) opened.inode.flush(covered.changes);
    const isSafe = ({ number, folder }: NameChange): boolean =>
      number <= covered.names &&
      (this.#model.names === 'journal' || (opened.inode === FOLDER && folder === opened.path));
    for (const change of this.#pending) if (isSafe(change)) change.apply(this.#safe);
    this.#pending = this.#pending.filter((change) => !isSafe(change));
  }

  /** Of the names that are not safe yet, the first ones may be: all folders together in a journal, else each its own. */
  #namesAfterCut(random: Random): Tree {
    const names: Tree = new Map(this.#safe);
    const shares = new Map<string, number>();
    const groups = new Map<string, NameChange[]>();
    for (const change of this.#pending) {
      const group = this.#model.names === 'journal' ? '' : change.folder;
      groups.set(group, [...(groups.get(group) ?? []), change]);
      if (!shares.has(group)) shares.set(group, SHARES[Math.floor(random() * SHARES.length)] ?? 0);
    }
    for (const [group, changes] of groups)
      for (const change of changes.slice(0, Math.ceil(changes.length * (shares.get(group) ?? 0))))
        change.apply(names);
    return names;
  }
}

/** Is every folder on the way to a file there? */
function hasFolder(names: Tree, root: string, path: string): boolean {
  for (let folder = dirname(path); folder.length > root.length; folder = dirname(folder))
    if (names.get(folder) !== FOLDER) return false;
  return true;
}

function rubbish(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
}
