#!/usr/bin/env bash
# The server and its workers under the thread sanitizer: requests, cancels, deaths, shutdowns, and minutes of mixed load.
#   bash tests/server_live/threads.sh [MINUTES]       (build-tsan is made; PYTHON with requirements.txt installed)
# Workers draw without a model and on one thread: OpenMP's own library is not instrumented and would be reported.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
REPORTS=$(mktemp -d)
trap 'rm -rf "$REPORTS"' EXIT
cmake --preset tsan >/dev/null
cmake --build build-tsan --target inkling test_server
export TSAN_OPTIONS="log_path=$REPORTS/report" INKLING=$PWD/build-tsan/bin/inkling OMP_NUM_THREADS=1
build-tsan/bin/test_server --gtest_brief=1 --gtest_filter=-*Milliseconds*
$PYTHON -m pytest -q tests/server_live/test_service.py tests/server_live/test_faults.py \
  -k "g2 or g3 or g5 or g7 or h2 or h3 or h4 or h8 or j2 or e9 or cancel_takes or every_format"
# Its bars on memory are for the real program; here only what the sanitizer says counts.
$PYTHON tests/server_live/soak.py --minutes "${1:-5}" || true
# Workers that the tests end by SIGSEGV leave a report of that signal.
if grep -l "WARNING: ThreadSanitizer" "$REPORTS"/* 2>/dev/null; then
  cat "$REPORTS"/*
  exit 1
fi
echo "no data race, no lock order inversion"
