#!/bin/sh
# Installs what is missing below node_modules; with the word "check" also the test runner's own set of plugins, with
# "test" the peers of the interop tests as well, with "vm" what the guest with a stock kernel needs.
# Only npm and Debian packages by name; nothing is compiled and nothing is fetched by a package's own script except the
# pinned Node runtime.
set -eu
cd "$(dirname "$0")/.."

# Each stamp holds the checksum of the lock file that was current when its step was done.
wanted=$(cksum <package-lock.json)
done_with() { [ -f "node_modules/.sluice-$1" ] && [ "$(cat "node_modules/.sluice-$1")" = "$wanted" ]; }

install_packages() {
  command -v npm >/dev/null 2>&1 || {
    echo "sluice: npm is missing; install Node 20 or newer with npm (Debian 12: apt-get install nodejs npm)" >&2
    exit 1
  }
  echo "sluice: installing npm packages (once)" >&2
  # Install scripts stay off, but for the one that lays the pinned Node runtime beside the other packages.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 &&
    npm rebuild --ignore-scripts=false --loglevel=error node >&2
}

# tap compiles its set of plugins once. Left to its first run it does so too late for that run, which then fails.
build_tap() {
  echo "sluice: building the test runner (once)" >&2
  rm -rf .tap
  PATH="$PWD/node_modules/.bin:$PATH" tap build >&2
}

# Two commands started together must not install over each other: the second waits, and finds everything there.
once() {
  done_with "$1" && return
  exec 9>.setup.lock
  flock 9
  if ! done_with "$1"; then
    "$2" || {
      echo "sluice: that failed, for the reason above; mend it and run the same command again" >&2
      exit 1
    }
    printf '%s\n' "$wanted" >"node_modules/.sluice-$1"
  fi
  exec 9>&-
}

once installed install_packages
case "${1:-}" in check | test) once tap build_tap ;; esac
case "${1:-}" in test | vm) ;; *) exit 0 ;; esac

# Daemons such as mosquitto are in sbin, where Debian lets nobody but root look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=
need() { # program:package pairs
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
  done
}
need nft:nftables ip:iproute2 conntrack:conntrack flock:util-linux setpriv:util-linux
if [ "$1" = vm ]; then
  what="the guest with a stock kernel"
  need qemu-system-x86_64:qemu-system-x86 busybox:busybox-static python3:python3 perl:perl-base dpkg-deb:dpkg
else
  what="the interop tests"
  # the peers that nobody here wrote
  need mbpoll:mbpoll coap-client-notls:libcoap3-bin mosquitto:mosquitto mosquitto_sub:mosquitto-clients \
    sqlite3:sqlite3 openssl:openssl gcc:gcc pkg-config:pkg-config busybox:busybox-static
  pkg-config --exists libmodbus 2>/dev/null || missing="$missing libmodbus-dev libc6-dev"
  for module in pymodbus jsonschema; do
    /usr/bin/python3 -c "import $module" 2>/dev/null || missing="$missing python3-$module"
  done
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "sluice: installing Debian packages for $what:$missing" >&2
  # No service is started on the developer's machine: the tests start their own, on loopback.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  # shellcheck disable=SC2086
  { apt-get install -y -qq --no-install-recommends $missing ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; } >&2 ||
    echo "sluice: they could not be installed; what needs them will say so" >&2
else
  echo "sluice: $what needs more; install it with: apt-get install$missing" >&2
fi
