#!/usr/bin/env bash
# The pages against the built server, in headless Chromium: bash tests/web/ci.sh [FOLDER FOR SCREENSHOTS]
# Needs nodejs, npm and Debian's chromium, and a font with Chinese (fonts-noto-cjk).
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
STATE=$(mktemp -d)
"$ROOT/build/bin/inkling" serve --listen 127.0.0.1:0 --device cpu --rate-limit 0 --state "$STATE" --log-file "$STATE/log" \
  --port-file "$STATE/port" >/dev/null &
SERVER=$!
trap 'kill $SERVER; wait $SERVER || true; rm -rf "$STATE"' EXIT
for _ in $(seq 200); do [ -s "$STATE/port" ] && break; sleep 0.1; done
URL=http://127.0.0.1:$(cat "$STATE/port")
for _ in $(seq 300); do curl -sf "$URL/readyz" >/dev/null && break; sleep 0.1; done
bash "$ROOT/tests/web/run.sh" "$URL" "${1:-$STATE/shots}"
