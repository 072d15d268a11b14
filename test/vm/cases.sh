# What only this kernel can show. Sourced by guest.sh: check, say and $node are there.
vlan=test/golden/vm/trunk.yaml
bridge=test/golden/vm/bridge.yaml
sluice() { $node src/main.ts "$@"; }
root=/run/root

# Rules of each golden folder: the kernel takes them, and an empty one lists no table of ours before.
for folder in test/golden/segmentation/*/; do
  check "golden $(basename "$folder")" sh -c "nft -j -f ${folder}ruleset.json && nft flush ruleset"
done

for name in eth1 lan1 lan2; do ip link add $name type veth peer name far_$name; ip link set far_$name up; done
check "trunk: apply" sluice network apply --without-networkd --root $root $vlan
check "trunk: verify" sluice network verify --root $root $vlan
check "bridge: apply, the VLANs of the trunk go" sluice network apply --without-networkd --root $root $bridge
check "bridge: verify" sluice network verify --root $root $bridge
bridge vlan add dev lan1 vid 99
check "bridge: a VLAN that somebody added is told" sh -c "! $node src/main.ts network verify --root $root $bridge"
check "bridge: and taken away" sluice network apply --without-networkd --root $root $bridge
check "bridge: port has its VLAN alone" sh -c "bridge vlan show dev lan1 | grep -q '10 PVID Egress Untagged' && ! bridge vlan show dev lan1 | grep -q 99"
sluice firewall render $bridge > /run/rules.json
check "bridge: rules load" nft -j -f /run/rules.json
check "bridge: proven" sh -c "(nft -j list table inet sluice; nft -j list table bridge sluice) | $node src/main.ts firewall prove $bridge"
