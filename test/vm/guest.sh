#!/bin/sh
# First process of the guest, in the root folder of the host: sh guest.sh HOUSE MODULES PART...
# Each result is a line "VM ok ..." or "VM not ok ..."; the machine goes off at the end, whatever happened.
set -u
house=$1 modules=$2
shift 2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s /proc/self/fd/0 /dev/stdin
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/netns /dev/shm
mount -t tmpfs none /dev/shm
mkdir -p /lib/modules
mount --bind "$modules" /lib/modules
# The kernel calls this for whatever is asked of it and not loaded yet.
ln -sf "$(command -v busybox)" /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
for module in crc32c_generic nf_tables bridge 8021q veth; do /run/modprobe "$module" || echo "VM not ok module $module"; done
ip link set lo up
cd "$house" || exit
export NODE_COMPILE_CACHE="$house/node_modules/.cache/sluice"

# Parts that need systemd as the first process come last: this process becomes it.
plain= with_systemd=
for part in ${*:-rules network attacks reload netd networkd units}; do
  case $part in networkd | units) with_systemd="$with_systemd $part" ;; *) plain="$plain $part" ;; esac
done
# shellcheck disable=SC2086
[ -z "$plain" ] || node_modules/.bin/node test/vm/guest.ts $plain
if [ -n "$with_systemd" ]; then
  . test/vm/install.sh
  exec /lib/systemd/systemd --unit=sluice-vm.target --show-status=no
fi
echo "VM end"
echo o > /proc/sysrq-trigger
sleep 60
