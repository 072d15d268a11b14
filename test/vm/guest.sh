#!/bin/sh
# Runs as the first process of the guest, in the root folder of the host: read-only, with a layer in memory above it.
# Each result is a line "VM ok ..." or "VM not ok ..."; the machine goes off at the end, whatever happened.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s /proc/self/fd/0 /dev/stdin
mount -t tmpfs none /run; mkdir -p /run/netns; mount -t tmpfs none /dev/shm 2>/dev/null || { mkdir -p /dev/shm; mount -t tmpfs none /dev/shm; }
mkdir -p /lib/modules; mount --bind "$(cat /vm-modules)" /lib/modules
cd "$(cat /vm-house)" || exit 1
node=node_modules/.bin/node
say() { echo "VM $*"; }
check() { # name, command...
  name=$1; shift
  if "$@" >/run/out 2>&1; then say "ok $name"; else say "not ok $name"; sed 's/^/VM   /' /run/out | tail -5; fi
}
# Nothing loads by itself here: no udev, and no kmod for the kernel to call.
for module in crc32c_generic nf_tables nft_ct nft_chain_nat nft_limit nft_log nft_fib_inet nft_reject_inet nft_redir nft_meta_bridge nfnetlink_log bridge 8021q veth nf_conntrack; do busybox modprobe $module || say "not ok module $module"; done
ip link set lo up
. test/vm/cases.sh
say "end"
echo o > /proc/sysrq-trigger
sleep 60
