#!/usr/bin/env bash
# One forward of the 20 B layout at 256x256 on the CPU, inkling beside stable-diffusion.cpp, in one run on one machine.
# Usage: tools/peers/cpu_forward.sh SD_CLI SYNTH ADAPTED [build/bin/inkling]
#   SD_CLI   its command line program, built natively (-DGGML_NATIVE=ON)
#   SYNTH    folder written by `inkling synth --preset qwen-image --dtype q4_0`
#   ADAPTED  folder written from it by tools/peers/adapt_synth.py
# Both read the same transformer, make two steps without guidance, and report the second.
set -euo pipefail
SD=$(realpath "$1")
SYNTH=$(realpath "$2")
ADAPTED=$(realpath "$3")
INKLING=$(realpath "${4:-build/bin/inkling}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

memory() { awk '{printf "%.1f GB", $1 / 1048576}' memory; }

echo "$(date -u +%F), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo '| program | forward | peak memory |'
echo '|---|---:|---:|'

/usr/bin/env time -f %M -o memory "$SD" --diffusion-model "$SYNTH/transformer/diffusion_pytorch_model.gguf" \
  --llm "$ADAPTED/text_encoder.gguf" --vae "$ADAPTED/vae.safetensors" -p "a cute panda" --cfg-scale 1 -W 256 -H 256 \
  --steps 2 --sampling-method euler -t "$(nproc)" -o peer.png -v >log 2>&1
PEER=$(tr '\r' '\n' <log | sed -n 's|.* 2/2 - \([0-9.]*\)s/it.*|\1|p')
echo "| stable-diffusion.cpp, q4_0 | $PEER s | $(memory) |"

# row NAME PRECISION [VARIABLE=VALUE...]
row() {
  local name=$1 precision=$2 seconds
  shift 2
  env "$@" /usr/bin/env time -f %M -o memory "$INKLING" generate --model "$SYNTH" -p "a cute panda" -W 256 -H 256 --steps 2 \
    --cfg-scale 1 --precision "$precision" --device cpu -o ours.png --json >result 2>log
  # seconds_per_step is the mean so far
  seconds=$(sed -n 's/.*"denoise","step":\([12]\).*"seconds_per_step":\([0-9.]*\).*/\1 \2/p' log |
    awk '{t[$1] = $1 * $2} END {printf "%.2f", t[2] - t[1]}')
  echo "| inkling, $name | $seconds s ($(awk -v a="$PEER" -v b="$seconds" 'BEGIN {printf "%.1f", a / b}')x) | $(memory) |"
}
row "bf16 products of q4_0" bf16
row "w4a8, AVX-512-VNNI" w4a8 INKLING_INT8_ISA=avx512 ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI
row "w4a8, best of the machine" w4a8
