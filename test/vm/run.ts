// npm run test:vm [-- PART...]: boots a stock Debian 12 kernel under QEMU, with the root folder of this machine as its own,
// read-only, and runs there what only that kernel can show. Ends by itself: status 0 where everything was right, 1 where
// not; where the packages for it cannot be had it is skipped with a reason, which is an error where CI is set.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fetchedKernel, fetchedPackages, type Kernel } from './kernel.ts';
import { writeInitramfs } from './initramfs.ts';

/** Emulation on a busy machine is slow: a quarter of an hour was seen. */
const LIMIT_SECONDS = Number(process.env['VM_LIMIT_SECONDS'] ?? '1200');
const MEMORY_MB = 1_536;
/** The first that works here: a machine in the cloud often has no /dev/kvm, or one that starts nothing. */
const ACCELERATORS = ['kvm', 'tcg,thread=multi'];
/** A guest that the machine itself runs says its first line within two seconds. */
const BEGIN_MS = 15_000;
const HOUSE = resolve(import.meta.dirname, '../..');
const QEMU = 'qemu-system-x86_64';
/** The same as in guest.sh. */
const CACHE = 'node_modules/.cache/sluice';
/** What the guest starts, with what ends it at once. */
const STARTED = [['test/vm/guest.ts', 'nothing'], ['src/main.ts', 'netd', '--help'], ['src/netd/guard.ts']];
/** Program, and the Debian package that has it. */
const NEEDED = [
  [QEMU, 'qemu-system-x86'],
  ['busybox', 'busybox-static'],
  ['dpkg-deb', 'dpkg'],
  ['setpriv', 'util-linux'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['conntrack', 'conntrack'],
  ['perl', 'perl-base'],
  ['python3', 'python3'],
] as const;

process.env['PATH'] = [process.env['PATH'], '/usr/sbin', '/sbin'].join(':');
process.exitCode = await inGuest(process.argv.slice(2));

async function inGuest(parts: readonly string[]): Promise<number> {
  for (const [program, debianPackage] of NEEDED) {
    if (spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program]).status !== 0) {
      return skipped(`${program} is missing: apt-get install ${debianPackage}`);
    }
  }
  compileAhead();
  const folder = temporary();
  const kernel = given() ?? fetchedKernel(folder);
  if (kernel === undefined) return skipped('no kernel: apt-get download of linux-image-amd64 did not work');
  const packages = fetchedPackages(folder);
  if (packages === undefined)
    return skipped('no systemd: apt-get install --download-only of systemd and udev did not work');
  const initramfs = writeInitramfs(folder, { modules: kernel.modules, packages, house: HOUSE, parts });
  return booted(kernel.image, initramfs);
}

function skipped(why: string): number {
  process.stdout.write(`skipped: ${why}\n`);
  return process.env['CI'] === 'true' ? 1 : 0;
}

/** Emulated, it takes the guest half a minute to strip and compile what it starts; here a second, and it is kept. */
function compileAhead(): void {
  const env = { ...process.env, NODE_COMPILE_CACHE: join(HOUSE, CACHE) };
  for (const args of STARTED) spawnSync(process.execPath, args, { cwd: HOUSE, env, stdio: 'ignore' });
}

/** Gone when this process is, however it ends: a shell waits for the end of its input, and removes it then. */
function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-vm-'));
  const keeper = spawn('sh', ['-c', 'cat >/dev/null; rm -rf "$1"', 'sh', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  keeper.unref();
  return folder;
}

/** VM_KERNEL names a folder that holds boot/ and lib/modules/ of such a kernel, with a modules.dep. */
function given(): Kernel | undefined {
  const folder = process.env['VM_KERNEL'];
  if (folder === undefined) return undefined;
  const [image] = globSync(join(folder, 'boot/vmlinuz-*'));
  if (image === undefined) throw new Error(`${folder}/boot holds no kernel`);
  return { image, modules: join(resolve(folder), 'lib/modules') };
}

/** VM_ACCEL=tcg emulates where the machine could do better, as a CI without /dev/kvm does. */
function accelerators(): string[] {
  const only = process.env['VM_ACCEL'];
  return ACCELERATORS.filter((name) => only === undefined || name.startsWith(only));
}

async function booted(image: string, initramfs: string): Promise<number> {
  for (const accelerator of accelerators()) {
    if (accelerator === 'kvm' && !existsSync('/dev/kvm')) continue;
    const status = await run(image, initramfs, accelerator);
    if (status !== undefined) return status;
    process.stdout.write(`no guest starts with ${accelerator} on this machine\n`);
  }
  return 1;
}

/** Exit status; undefined where the guest did not even begin. */
async function run(image: string, initramfs: string, accelerator: string): Promise<number | undefined> {
  const options = [
    ['-kernel', image, '-initrd', initramfs],
    ['-append', 'console=ttyS0 quiet panic=-1 mitigations=off'],
    // Some machines offer what they then refuse to set.
    ['-m', String(MEMORY_MB), '-smp', '2', '-accel', accelerator, '-cpu', 'max,-arch-capabilities'],
    ['-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio'],
    ['-fsdev', 'local,id=root,path=/,security_model=none,readonly=on,multidevs=remap'],
    ['-device', 'virtio-9p-pci,fsdev=root,mount_tag=root'],
  ].flat();
  // The guest ends when this process does, however that ends.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', QEMU, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const begin = Date.now();
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_SECONDS * 1_000);
  let began = false;
  const begins = setTimeout(() => began || accelerator !== 'kvm' || child.kill('SIGKILL'), BEGIN_MS);
  const results: string[] = [];
  const last: string[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString()}`.split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      last.push(line);
      if (last.length > 120) last.shift();
      if (process.env['VM_CONSOLE'] !== undefined) process.stderr.write(`${line}\n`);
      began ||= line.includes('VM begin');
      // The kernel writes to the same console, and not always a whole line.
      const [, result] = /VM ((?:ok|not ok|end).*)/.exec(line) ?? [];
      if (result === undefined) continue;
      results.push(result);
      process.stdout.write(`${result}\n`);
    }
  });
  await new Promise((done) => child.once('close', done));
  clearTimeout(timer);
  clearTimeout(begins);
  if (!began && accelerator === 'kvm') return undefined;
  const right = results.filter((line) => line.startsWith('ok ')).length;
  const wrong = results.filter((line) => line.startsWith('not ok')).length;
  const took = Math.round((Date.now() - begin) / 1_000);
  if (results.at(-1) === 'end' && right > 0) {
    process.stdout.write(`${right} right, ${wrong} wrong, in ${took} s (${accelerator})\n`);
    return wrong === 0 ? 0 : 1;
  }
  process.stdout.write(`${last.join('\n')}\nthe guest did not come to its end within ${took} s\n`);
  return 1;
}
