#!/usr/bin/env bash
# Browser tests of the pages:  tests/web/run.sh URL [FOLDER FOR SCREENSHOTS]
# Needs node, npm and Debian's chromium ($CHROMIUM elsewhere). Without a URL: against the mock server.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --silent --no-audit --no-fund
url=${1:-}
shots=${2:-../../out/web}
mkdir -p "$shots"
if [ -z "$url" ]; then
  url=http://127.0.0.1:8098
  node mock_server.mjs 8098 &
  mock=$!
  trap 'kill $mock' EXIT
fi
node pages.mjs "$url" "$shots"
