# Read by guest.sh: Sluice is installed in the guest as docs/segmentation.md says, with $with_systemd to be run after the start.
mkdir -p /usr/lib/sluice /etc/sluice
mount --bind "$house" /usr/lib/sluice
cp deploy/sysusers/sluice.conf /usr/lib/sysusers.d/
cp deploy/tmpfiles/sluice.conf /usr/lib/tmpfiles.d/
cp deploy/systemd/*.service /etc/systemd/system/
cp -r deploy/systemd/*.service.d /etc/systemd/system/
cp test/vm/units.yaml /etc/sluice/gateway.yaml
systemd-sysusers
systemd-tmpfiles --create sluice.conf
# As if the rules of units.yaml had been confirmed before the machine was started.
case $with_systemd in *units*) node_modules/.bin/node test/vm/confirmed.ts ;; esac

# Nothing of the machine that lends its root folder is started or mounted, and nothing of its /tmp goes.
# This is a machine and no container, whatever lends its root folder.
rm -f /.dockerenv /run/.containerenv
unset container
: > /etc/fstab
for unit in systemd-hwdb-update systemd-timesyncd systemd-update-utmp systemd-random-seed systemd-binfmt \
  systemd-firstboot systemd-machine-id-commit systemd-pstore systemd-journal-flush apparmor nftables; do
  ln -sf /dev/null "/etc/systemd/system/$unit.service"
done
ln -sf /dev/null /etc/tmpfiles.d/tmp.conf
systemctl enable -q systemd-networkd sluice-firewall sluice-netd

cat > /etc/systemd/system/sluice-vm.target <<UNIT
[Unit]
Requires=basic.target
Wants=systemd-networkd.service sluice-netd.service sluice-vm.service
UNIT
cat > /etc/systemd/system/sluice-vm.service <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
WorkingDirectory=$house
ExecStart=$house/node_modules/.bin/node test/vm/guest.ts$with_systemd
ExecStopPost=-/bin/sh -c 'echo VM end; echo o > /proc/sysrq-trigger; sleep 60'
Environment=NODE_COMPILE_CACHE=$NODE_COMPILE_CACHE PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
