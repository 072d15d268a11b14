#!/bin/sh
# Loads the network rules that were confirmed last, before the network comes up: firewall-boot.sh FOLDER [REPORT]
# FOLDER is segmentation/ below gateway.data. Needs nothing of Sluice but what is in there: no Node, no compiler.
#
#   boot.json    the rules that were confirmed last, with who is in quarantine
#   closed.json  loaded where that is missing, damaged, refused, or may have been written by others: management alone
#   built in     where not even that can be had: nothing but the machine itself
#
# Where nothing was ever confirmed on this machine the network stays as it is. What came of it is said on standard error
# and in REPORT, which netd reads. Exit status 0, or 1 where no rules could be loaded at all: then nothing is forwarded,
# and what brings up the network does not start, as its units require this one.
set -u
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
nft=${SLUICE_NFT:-nft}
# A load takes a second or two; whatever has not ended by then hangs, and what is behind it has to have its turn before
# systemd ends the unit (TimeoutStartSec=).
limit=${SLUICE_NFT_SECONDS:-30}
folder=${1:?usage: firewall-boot.sh FOLDER [REPORT]}
report=${2:-/run/sluice/boot.json}
why=

# <3> is an error, <4> a warning, <6> information: sd-daemon(3).
say() { printf '<%s>sluice-firewall: %s\n' "$1" "$2" >&2; }

finish() { # STATUS PRIORITY OUTCOME SENTENCE
  say "$2" "$4"
  told=$(printf '%s' "$4" | tr -d '"\\\000-\037' | cut -c 1-500)
  mkdir -p "$(dirname "$report")" &&
    printf '{"time":"%s","boot":"%s","outcome":"%s","says":"%s"}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
      "$(cat /proc/sys/kernel/random/boot_id)" "$3" "$told" >"$report.partial" &&
    mv "$report.partial" "$report" || say 4 "$report cannot be written"
  exit "$1"
}

# Why somebody other than root may have written what is at $1, or put it there; nothing where nobody may. $2 is "shared"
# where the folder itself may be written by others, if it has the sticky bit: they cannot rename what is not theirs.
doubt() {
  at=$1 sticky=${2:-}
  while :; do
    # shellcheck disable=SC2046
    set -- $(stat -c '%u %a' -- "$at" 2>/dev/null)
    [ $# = 2 ] || { echo "$at cannot be looked at"; return; }
    [ "$1" = 0 ] || { echo "$at belongs to user $1"; return; }
    if [ $((0$2 & 022)) -ne 0 ] && { [ -z "$sticky" ] || [ $((0$2 & 01000)) -eq 0 ]; }; then
      echo "$at can be written by others"
      return
    fi
    [ "$at" != / ] || return
    at=$(dirname -- "$at") sticky=shared
  done
}

# The kernel holds the rules of this file; or `why` tells what is wrong with it.
load() {
  [ -e "$1" ] || [ -h "$1" ] || { why="$1 is missing"; return 1; }
  [ -f "$1" ] && [ ! -h "$1" ] || { why="$1 is no file"; return 1; }
  why=$(doubt "$1")
  [ -z "$why" ] || return 1
  seal=$(head -n 1 -- "$1" | sed -n 's/^{"nftables":\[{"metainfo":{.*"sha256":"\([0-9a-f]\{64\}\)"}},$/\1/p')
  if [ -z "$seal" ] || [ "$seal" != "$(tail -n +2 -- "$1" | sha256sum | cut -c 1-64)" ]; then
    why="$1 is damaged"
    return 1
  fi
  # Once more where it failed: nft may have been killed, or have failed after it was done.
  ask -j -f "$1" || { [ "$late" = no ] && ask -j -f "$1"; } || {
    why="$1 is refused: $(printf '%s' "$said" | head -n 1 | cut -c 1-200)"
    return 1
  }
}

# nft with these arguments and a limit; `said` is what it printed, or what kept it from it.
ask() {
  said=$(timeout -k 1 "$limit" "$nft" "$@" 2>&1)
  status=$? late=no
  # timeout(1): 124 where it had to end it.
  [ "$status" -ne 124 ] || late=yes said="nft did not end within $limit s"
  return "$status"
}

# Loopback and finding neighbours; nothing else comes in, goes out or through.
shut() {
  ask -f - <<'RULES' || { why=$said; return 1; }
table inet sluice
delete table inet sluice
table inet sluice {
  chain g_input {
    type filter hook input priority -5; policy drop;
    iifname "lo" accept
    icmpv6 type { 133, 134, 135, 136 } ip6 hoplimit 255 accept
  }
  chain g_forward { type filter hook forward priority -5; policy drop; }
  chain g_output {
    type filter hook output priority -5; policy drop;
    oifname "lo" accept
    icmpv6 type { 133, 135, 136 } ip6 hoplimit 255 accept
  }
}
RULES
}

close_all() { # REASON
  first=$1
  shut && finish 0 3 built-in "$first; nothing but loopback is let through, until somebody runs ./sluice firewall rollback or apply on the console"
  reason=$(printf '%s' "$why" | head -n 1 | cut -c 1-200)
  for knob in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding; do
    echo 0 2>/dev/null >"$knob"
  done
  finish 1 3 failed "$first; and no rules can be loaded at all ($reason): nothing is forwarded, and the network is not brought up"
}

[ "$(readlink -m -- "$folder")" = "$folder" ] || close_all "$folder is not where it seems to be: name its real path"
if [ ! -e "$folder" ]; then
  above=$folder
  while [ ! -e "$above" ]; do above=$(dirname -- "$above"); done
  why=$(doubt "$above" shared)
  [ -z "$why" ] || close_all "whether rules were ever confirmed cannot be known: $folder is missing, and $why"
  finish 0 6 none "no rules were ever confirmed on this machine: the network stays as it is"
fi
why=$(doubt "$folder")
[ -z "$why" ] || close_all "the rules in $folder are not trusted: $why"
if [ ! -e "$folder/confirmed.json" ] && [ ! -e "$folder/boot.json" ] && [ ! -e "$folder/closed.json" ]; then
  finish 0 6 none "no rules were ever confirmed on this machine: the network stays as it is"
fi

load "$folder/boot.json" && finish 0 6 confirmed "the rules that were confirmed last are loaded"
first=$why
load "$folder/closed.json" &&
  finish 0 3 closed "$first; nothing but management is let through: ./sluice firewall rollback loads the confirmed rules again"
close_all "$first; $why"
