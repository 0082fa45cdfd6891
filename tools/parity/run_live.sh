#!/usr/bin/env bash
# Compares the built program with the reference libraries as installed: whole runs and traces on the goldens of
# make_goldens.py, and token ids of 10,000 strings for the shipped and for the published vocabulary.
# Usage: tools/parity/run_live.sh GOLDENS   (after make_goldens.py GOLDENS and make_vectors.py GOLDENS/vectors)
set -euo pipefail
GOLDENS=$(realpath "$1")
PYTHON=${PYTHON:-.venv/bin/python}
export OMP_WAIT_POLICY=passive INKLING_GOLDENS=$GOLDENS

build/bin/test_models --gtest_brief=1
build/bin/test_pipeline --gtest_brief=1
for tokenizer in models/inkling-tiny/tokenizer "$GOLDENS/vectors/tokenizer-published"; do
  [ -d "$tokenizer" ] || { echo "no $tokenizer: skipped"; continue; }
  "$PYTHON" tests/text/make_vectors.py --tokenizer "$tokenizer" --count 10000 --out "$GOLDENS/ids.jsonl"
  INKLING_TOKENIZER_DIR=$tokenizer INKLING_TOKENIZER_VECTORS=$GOLDENS/ids.jsonl build/bin/test_text --gtest_brief=1
done
