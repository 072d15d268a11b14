// npm run test:vm: boots a stock Debian 12 kernel under QEMU with the root folder of this machine, read-only, and runs what only
// that kernel can show. Ends by itself; exit status 0 where everything was right, 1 where not, 0 with a reason where the
// packages for it cannot be had (1 under CI).
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

/** Under emulation without KVM each call of nft takes several hundred milliseconds. */
const LIMIT_SECONDS = 600;
/** In this order: each needs those before it. */
const MODULES = [
  'netfs', 'fscache', '9pnet', '9p', 'virtio', 'virtio_ring', '9pnet_virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'overlay',
]; // biome-ignore format: a list reads better
const HOUSE = resolve(import.meta.dirname, '../..');
const QEMU = 'qemu-system-x86_64';

const folder = mkdtempSync(join(tmpdir(), 'sluice-vm-'));
let status = 1;
try {
  status = await inGuest();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = status;

async function inGuest(): Promise<number> {
  for (const [program, debianPackage] of [
    [QEMU, 'qemu-system-x86'],
    ['busybox', 'busybox-static'],
    ['dpkg-deb', 'dpkg'],
  ] as const) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) {
      return skipped(`${program} is missing; install it with: apt-get install ${debianPackage}`);
    }
  }
  const kernel = fetchedKernel();
  if (kernel === undefined) return skipped('no kernel: apt-get download of linux-image-amd64 did not work');
  writeInitramfs(kernel.modules);
  return booted(kernel.image);
}

function skipped(why: string): number {
  process.stdout.write(`skipped: ${why}\n`);
  return process.env['CI'] === 'true' ? 1 : 0;
}

/** Unpacked and not installed: the kernel of this machine stays what it is. */
function fetchedKernel(): { readonly image: string; readonly modules: string } | undefined {
  const script = `
name=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -1)
[ -n "$name" ] && apt-get download "$name" && dpkg-deb -x "$name"_*.deb kernel && busybox depmod -b kernel "\${name#linux-image-}"`;
  const ran = spawnSync('sh', ['-euc', script], { cwd: folder, encoding: 'utf8' });
  const [image] = globSync(join(folder, 'kernel/boot/vmlinuz-*'));
  if (ran.status !== 0 || image === undefined) return undefined;
  return { image, modules: join(folder, 'kernel/lib/modules') };
}

function writeInitramfs(modules: string): void {
  const root = join(folder, 'initramfs');
  for (const name of ['bin', 'm', 'proc', 'sys', 'dev', 'ro', 'rw', 'new'])
    mkdirSync(join(root, name), { recursive: true });
  const busybox = spawnSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).stdout.trim();
  copyFileSync(busybox, join(root, 'bin/busybox'));
  for (const name of MODULES) {
    const [file] = globSync(join(modules, `*/kernel/**/${name}.ko`));
    if (file !== undefined) copyFileSync(file, join(root, 'm', basename(file)));
  }
  writeFileSync(join(root, 'init'), init(modules));
  chmodSync(join(root, 'init'), 0o755);
  spawnSync(
    'sh',
    ['-euc', 'cd initramfs; find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > ../initramfs.gz'],
    { cwd: folder },
  );
}

const init = (modules: string): string => `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc none /proc; $b mount -t sysfs none /sys; $b mount -t devtmpfs none /dev
for m in ${MODULES.join(' ')}; do $b insmod /m/$m.ko 2>/dev/null; done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose root /ro
$b mount -t tmpfs none /rw; $b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work none /new
for place in proc sys dev; do $b mount --move /$place /new/$place; done
echo ${modules} > /new/vm-modules; echo ${HOUSE} > /new/vm-house
exec $b switch_root /new /bin/sh ${HOUSE}/test/vm/guest.sh
`;

async function booted(image: string): Promise<number> {
  const child = spawn(
    QEMU,
    [
      ['-kernel', image, '-initrd', join(folder, 'initramfs.gz'), '-append', 'console=ttyS0 quiet panic=-1'],
      ['-m', '1024', '-smp', '2', '-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio'],
      ['-fsdev', 'local,id=root,path=/,security_model=none,readonly=on,multidevs=remap'],
      ['-device', 'virtio-9p-pci,fsdev=root,mount_tag=root'],
    ].flat(),
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_SECONDS * 1_000);
  const results: string[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString()}`.split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('VM ')) continue;
      results.push(line.slice(3));
      process.stdout.write(`${line.slice(3)}\n`);
    }
  });
  await new Promise((done) => child.once('close', done));
  clearTimeout(timer);
  const wrong = results.filter((line) => line.startsWith('not ok')).length;
  const ended = results.includes('end');
  process.stdout.write(
    ended ? `${results.length - 1} results, ${wrong} wrong\n` : 'the guest did not come to its end\n',
  );
  return ended && wrong === 0 ? 0 : 1;
}
