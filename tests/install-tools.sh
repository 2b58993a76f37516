#!/bin/sh
# Chromium (system package) and the Node packages of the Express receiver, for the tests that use them.
# Installs what it may (root on a Debian-like system); elsewhere says what is missing and goes on:
# the tests themselves skip, or fail where CI=true.
set -u
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium from the system's packages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 </dev/null \
      || echo "chromium could not be installed" >&2
  else
    echo "no Chromium found: install it (Debian: apt-get install chromium) to run the browser tests" >&2
  fi
fi

if command -v npm >/dev/null; then
  if [ ! -d docs/examples/express/node_modules ] || [ docs/examples/express/package-lock.json -nt docs/examples/express/node_modules ]; then
    (cd docs/examples/express && npm ci --silent --no-audit --no-fund </dev/null && touch node_modules) \
      || echo "the packages of docs/examples/express could not be installed" >&2
  fi
else
  echo "no npm found: the Express receiver will not be tested" >&2
fi
exit 0
