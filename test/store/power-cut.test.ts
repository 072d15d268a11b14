import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openForWriting } from '../../src/store/open.ts';
import { times } from '../support/long.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount } from '../support/small-disk.ts';
import { bookRun, checkBooks, checkRecorded, emptyBooks } from './books.ts';
import { countTo, directory, opened } from './fixture.ts';

const ROUND = 1_000_000;
const CUTS = times('POWER_CUTS', 8, 200);
t.setTimeout(60_000 + CUTS * 10_000);
const LONGEST_MS = 400;

/** A kernel without loop devices cannot show it; that is no peer that somebody forgot to install. */
function cannotCut(): string | false {
  const reason =
    cannotMount() || missingPeer('mkfs.ext4', 'e2fsprogs') || missingPeer('/usr/bin/python3', 'python3');
  if (reason !== false) return reason;
  return existsSync('/dev/loop-control') ? false : 'this kernel has no loop devices';
}

function must(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A disk of its own, which can lose its power: what was not flushed to it is gone when it is mounted again. */
class Disk {
  readonly path: string;
  readonly #image: string;

  constructor(t: Test, folder: string) {
    this.#image = join(folder, 'disk.img');
    this.path = join(folder, 'disk');
    mkdirSync(this.path);
    must('truncate', '-s', '64M', this.#image);
    must('mkfs.ext4', '-q', '-F', this.#image);
    t.teardown(() => spawnSync('umount', ['-l', this.path]));
  }

  mount(): void {
    must('mount', '-o', 'loop', this.#image, this.path);
  }

  /**
   * ext4's own shutdown, in the mode that writes nothing more, not even its journal (ext4.h, EXT4_IOC_SHUTDOWN). Returns
   * the length that `record` had just before: an fsync which the cut meets may say that it succeeded, and on a machine
   * without power nobody could act on that any more.
   */
  cutPower(record: string): number {
    const program = `import fcntl,os,struct,sys
disk = os.open(sys.argv[1], os.O_RDONLY)
print(os.stat(sys.argv[2]).st_size, flush=True)
fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))`;
    return Number(must('/usr/bin/python3', '-c', program, this.path, record));
  }

  unmount(): void {
    must('umount', this.path);
  }
}

t.test(
  'a power cut at any moment loses nothing that was acknowledged, and repeats no number',
  { skip: cannotCut(), timeout: 20_000 + CUTS * 10_000 },
  async (t) => {
    const folder = directory(t);
    const disk = new Disk(t, folder);
    const file = join(disk.path, 'telemetry.db');
    const books = emptyBooks();

    for (const round of countTo(CUTS)) {
      disk.mount();
      const record = join(folder, `said-${round}`); // on another disk, which keeps its power
      const args = [join(import.meta.dirname, 'kill-child.ts'), file, record, `${round * ROUND}`];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const closed = new Promise((resolve) => child.once('close', (_status, signal) => resolve(signal)));
      let length = 0;
      child.stdout.once('data', () => {
        setTimeout(() => {
          length = disk.cutPower(record);
          child.kill('SIGKILL');
        }, Math.random() * LONGEST_MS);
      });
      t.equal(await closed, 'SIGKILL');
      disk.unmount();
      bookRun(books, record, length);
    }

    disk.mount();
    const db = openForWriting(file, 64 * 1_048_576);
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    checkRecorded(t, file, books, ROUND);
    const outbox = await opened(t, file);
    const told = await checkBooks(t, outbox, books);
    t.equal(told.size, 0);
    t.ok(books.acknowledged.size > CUTS * 10);
    await outbox.close();
  },
);
