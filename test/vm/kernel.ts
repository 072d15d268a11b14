import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';

/** A kernel as Debian ships it, unpacked and not installed: that of this machine stays what it is. */
export interface Kernel {
  readonly image: string;
  /** What goes over /lib/modules of the guest. */
  readonly modules: string;
}

/** Of 400 megabytes of drivers these are the ones that a gateway without hardware asks for. */
const PARTS = [
  './boot/vmlinuz-*',
  './lib/modules/*/modules.*',
  ...[
    'net',
    'lib',
    'crypto',
    'arch/x86/crypto',
    'drivers/virtio',
    'fs/9p',
    'fs/netfs',
    'fs/fscache',
    'fs/overlayfs',
  ].map((name) => `./lib/modules/*/kernel/${name}/*`),
  './lib/modules/*/kernel/drivers/net/veth.ko',
  './lib/modules/*/kernel/drivers/net/dummy.ko',
];

/** The newest kernel that this machine's packages know, into a folder; undefined where it cannot be had. */
export function fetchedKernel(folder: string): Kernel | undefined {
  const script = `
name=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -1)
[ -n "$name" ]
apt-get download "$name"
mkdir kernel
dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x -C kernel --wildcards "$@"
busybox depmod -b kernel "\${name#linux-image-}"
rm "$name"_*.deb`;
  const ran = spawnSync('sh', ['-euc', script, 'sh', ...PARTS], { cwd: folder, encoding: 'utf8' });
  const [image] = globSync(join(folder, 'kernel/boot/vmlinuz-*'));
  if (ran.status === 0 && image !== undefined) return { image, modules: join(folder, 'kernel/lib/modules') };
  process.stderr.write(ran.stderr);
  return undefined;
}
