#!/usr/bin/env bash
# Runs the Autobahn WebSocket cases against the gateway's server and client sides, and against the
# bare codec library, and fails when one of ours does worse. Takes about a minute.
#
# Needs Python 3.10 or later with venv; the first run installs what requirements.txt names into the
# target folder.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/websocket-venv
wanted=tests/websocket/requirements.txt

if ! cmp -s "$wanted" "$venv/installed.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$venv/installed.txt"
fi

cargo build --quiet -p clawgate-smol --example ws_echo
cargo build --quiet -p clawgate-std --example ws_echo_client
exec "$venv/bin/python" tests/websocket/compare.py "$target/debug/examples"
