#!/bin/sh
# Chromium (system package), the Node packages of the Express receiver and the module of the Go one, for the tests that use them;
# with the argument `examples` the Node packages of the generated client and PHP, too; with `bench` nginx and Redis, for the benchmark.
# Installs what it may (root on a Debian-like system); elsewhere says what is missing and goes on:
# the tests themselves skip, or fail where CI=true.
set -u
cd "$(dirname "$0")/.."

# install WHAT-FOR PACKAGE…: the system's packages, where we may
install() {
  purpose=$1; shift
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $* from the system's packages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null 2>&1 </dev/null \
      || echo "$* could not be installed" >&2
  else
    echo "not found: $* (Debian: apt-get install $*), wanted for $purpose" >&2
  fi
}

if [ "${1:-}" = bench ]; then
  PATH="$PATH:/usr/sbin"
  command -v nginx >/dev/null || install "the benchmark's sink" nginx-light
  command -v redis-server >/dev/null || install "the rivals on Celery" redis-server
  exit 0
fi

# Without its windows it takes a third of the time; not every system has it so.
command -v chromium-headless-shell >/dev/null || install "short browser tests" chromium-headless-shell fonts-dejavu-core
if ! command -v chromium-headless-shell >/dev/null && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  install "the browser tests" chromium fonts-dejavu-core
fi

# node_packages FOLDER: those of its lock file
node_packages() {
  [ -d "$1/node_modules" ] && [ ! "$1/package-lock.json" -nt "$1/node_modules" ] && return
  (cd "$1" && npm ci --silent --no-audit --no-fund </dev/null && touch node_modules) \
    || echo "the packages of $1 could not be installed" >&2
}

[ "${1:-}" != examples ] || command -v php >/dev/null || install "the PHP receiver" php-cli

if command -v npm >/dev/null; then
  node_packages docs/examples/express
  [ "${1:-}" != examples ] || node_packages tests/examples/typescript
else
  echo "no npm found: the Express receiver will not be tested" >&2
fi

if command -v go >/dev/null; then
  (cd docs/examples/go && go mod download </dev/null) \
    || echo "the module of docs/examples/go could not be downloaded" >&2
fi
exit 0
