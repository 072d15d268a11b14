#!/bin/sh
# Installs what is missing below node_modules; with the word "test" also the peers of the interop tests.
# Only npm and Debian packages by name; nothing is compiled and nothing is fetched by a package's own script except the
# pinned Node runtime.
set -eu
cd "$(dirname "$0")/.."

lock=package-lock.json
stamp=node_modules/.sluice-installed

# The stamp holds the checksum of the lock file that node_modules was made from.
wanted=$(cksum <"$lock")
installed() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }

install() {
  command -v npm >/dev/null 2>&1 || {
    echo "sluice: npm is missing; install Node 20 or newer with npm (Debian 12: apt-get install nodejs npm)" >&2
    exit 1
  }
  echo "sluice: installing npm packages (once)" >&2
  # Install scripts stay off, but for the one that lays the pinned Node runtime beside the other packages.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  # tap keeps here what it built below the old node_modules.
  rm -rf .tap
  npm rebuild --ignore-scripts=false --loglevel=error node >&2
  printf '%s\n' "$wanted" >"$stamp"
}

# Two commands started together must not install over each other: the second waits, and finds everything there.
if ! installed; then
  exec 9>.setup.lock
  flock 9
  installed || install
  exec 9>&-
fi

[ "${1:-}" = test ] || exit 0

# program:package pairs of the peers that nobody here wrote
missing=
for pair in mbpoll:mbpoll coap-client-notls:libcoap3-bin mosquitto:mosquitto mosquitto_sub:mosquitto-clients \
  sqlite3:sqlite3 openssl:openssl gcc:gcc pkg-config:pkg-config; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
pkg-config --exists libmodbus 2>/dev/null || missing="$missing libmodbus-dev libc6-dev"
for module in pymodbus jsonschema; do
  /usr/bin/python3 -c "import $module" 2>/dev/null || missing="$missing python3-$module"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "sluice: installing Debian packages for the interop tests:$missing" >&2
  # No service is started on the developer's machine: the tests start their own, on loopback.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  # shellcheck disable=SC2086
  { apt-get install -y -qq --no-install-recommends $missing ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; } >&2
else
  echo "sluice: some interop tests need peers; install them with: apt-get install$missing" >&2
fi
