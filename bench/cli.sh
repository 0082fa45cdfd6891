#!/usr/bin/env bash
# Wall time (process start included) and peak memory of the command line, median of five runs each, as a table.
# Usage: bench/cli.sh [build/bin/inkling] [folder written by `inkling synth --preset qwen-image --dtype q4_0`]
set -euo pipefail
INKLING=$(realpath "${1:-build/bin/inkling}")
SYNTH=${2:+$(realpath "$2")}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

# row NAME RUNS COMMAND...
row() {
  local name=$1 runs=$2
  shift 2
  for _ in $(seq "$runs"); do
    /usr/bin/env time -f '%e %M' -o one "$@" >/dev/null 2>&1
    cat one >>"all-$$"
  done
  printf '| %s | %s s | %s MB |\n' "$name" "$(sort -n "all-$$" | awk '{t[NR] = $1} END {print t[int((NR + 1) / 2)]}')" \
    "$(sort -n -k2 "all-$$" | awk '{m = $2} END {printf "%.0f", m / 1024}')"
  rm "all-$$"
}

echo "$(date -u +%F), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo '| run | wall, median | peak memory |'
echo '|---|---|---|'
row "generate 256², 8 steps, shipped model" 5 "$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o duck.png
row "the same in float32" 5 "$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o duck32.png --precision f32
row "edit 256², 8 steps, shipped model" 5 "$INKLING" edit -i duck.png -p 把帽子变成蓝色 -o blue.png
if [ -n "$SYNTH" ]; then
  row "generate 256², 1 step, 20 B layout, q4_0" 1 "$INKLING" generate --model "$SYNTH" -p "a cute panda" -W 256 -H 256 --steps 1 --cfg-scale 1 -o panda.png
fi
