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
newest() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: //p' | head -1; }
name=$(newest)
[ -n "$name" ] || { apt-get update -qq >&2; name=$(newest); }
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

/** What a stock machine has and this one may lack: an init, what names its devices, and the bus by which they talk. */
const PACKAGES = ['systemd', 'udev', 'dbus'];

/** Those of them, and of what they need, that are not installed here, unpacked below a folder; undefined where they cannot be had. */
export function fetchedPackages(folder: string): string | undefined {
  const script = `
mkdir -p archives/partial packages
apt-get install -qq -y --no-install-recommends --download-only -o Dir::Cache::archives="$PWD/archives" "$@" >&2
for file in archives/*.deb; do
  [ ! -e "$file" ] || dpkg-deb -x "$file" packages
done
# Where /lib is a link to usr/lib, a folder of that name would hide it.
for name in bin sbin lib lib64; do
  [ -d "packages/$name" ] && [ -L "/$name" ] || continue
  mkdir -p "packages/usr/$name"
  cp -a "packages/$name/." "packages/usr/$name/"
  rm -r "packages/$name"
done
rm -r archives`;
  const ran = spawnSync('sh', ['-euc', script, 'sh', ...PACKAGES], { cwd: folder, encoding: 'utf8' });
  if (ran.status === 0) return join(folder, 'packages');
  process.stderr.write(ran.stderr);
  return undefined;
}
