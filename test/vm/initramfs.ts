import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** In this order: each needs those before it. */
const MODULES = [
  'netfs', 'fscache', '9pnet', '9p', 'virtio_ring', 'virtio', '9pnet_virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'overlay',
]; // biome-ignore format: a list reads better

export interface Guest {
  /** What goes over /lib/modules. */
  readonly modules: string;
  /** What goes into the layer in memory above the root folder. */
  readonly packages: string;
  readonly house: string;
  readonly parts: readonly string[];
}

/** What the kernel unpacks first: just enough to mount the root folder of the host, with a layer in memory above it. */
export function writeInitramfs(folder: string, guest: Guest): string {
  const root = join(folder, 'initramfs');
  for (const name of ['bin', 'm', 'proc', 'sys', 'dev', 'ro', 'rw', 'new'])
    mkdirSync(join(root, name), { recursive: true });
  const busybox = spawnSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).stdout.trim();
  copyFileSync(busybox, join(root, 'bin/busybox'));
  for (const name of MODULES) {
    const [file] = globSync(join(guest.modules, `*/kernel/**/${name}.ko`));
    if (file !== undefined) copyFileSync(file, join(root, 'm', basename(file)));
  }
  writeFileSync(join(root, 'init'), init(guest));
  chmodSync(join(root, 'init'), 0o755);
  const packed = 'cd "$1"; find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > "$2"';
  const image = join(folder, 'initramfs.gz');
  spawnSync('sh', ['-euc', packed, 'sh', root, image]);
  return image;
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

const init = ({ modules, packages, house, parts }: Guest): string => `#!/bin/busybox sh
b=/bin/busybox
echo VM begin
$b mount -t proc none /proc; $b mount -t sysfs none /sys; $b mount -t devtmpfs none /dev
for m in ${MODULES.join(' ')}; do $b insmod /m/$m.ko; done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose root /ro
$b mount -t tmpfs none /rw; $b mkdir /rw/upper /rw/work
$b cp -a /ro${quoted(packages)}/. /rw/upper/
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work none /new
for place in proc sys dev; do $b mount --move /$place /new/$place; done
exec $b switch_root /new /bin/sh ${[`${house}/test/vm/guest.sh`, house, modules, ...parts].map(quoted).join(' ')}
`;
