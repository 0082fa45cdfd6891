#!/usr/bin/env bash
# The command line as a user meets it: right pictures come out, bad input gets a clear error and the right exit
# code, and nothing is left behind. Usage: tests/cli/run.sh build/bin/inkling
set -u
INKLING=$(realpath "$1")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"
passed=0
failed=0

# expect NAME EXIT_CODE PATTERN COMMAND...: the command exits with the code and its output holds the pattern.
expect() {
  local name=$1 code=$2 pattern=$3
  shift 3
  local output actual
  output=$(timeout 60 "$@" 2>&1 </dev/null)
  actual=$?
  if [ "$actual" = "$code" ] && printf '%s' "$output" | grep -q -e "$pattern"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED %s: exit %s (expected %s), no "%s" in:\n%s\n' "$name" "$actual" "$code" "$pattern" "$output" | head -c 2000
  fi
}

check() {
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $name"; fi
}

# --- the real thing
expect "draws a picture" 0 '"seed":7' "$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o duck.png --seed 7 --json
expect "the picture carries prompt and settings, Chinese intact" 0 '黄色的小鸭子戴着红色帽子' "$INKLING" inspect duck.png
expect "progress is JSON lines without a terminal" 0 '"event":"progress","phase":"denoise"' "$INKLING" generate -p "a blue cat" -o cat.png
"$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o again.png --seed 7 2>/dev/null
check "the same seed gives the same bytes" cmp -s duck.png again.png
"$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o other.png --seed 8 2>/dev/null
check "another seed gives another picture" bash -c '! cmp -s duck.png other.png'
"$INKLING" generate -p 黄色的小鸭子戴着红色帽子 -o pair.png --seed 7 --batch 2 2>/dev/null
check "a batch draws seed, seed+1, as single runs do" bash -c 'cmp -s pair.png duck.png && cmp -s pair-1.png other.png'
expect "edits a picture" 0 '"images"' "$INKLING" edit -i duck.png -p 把帽子变成蓝色 -o blue.png --json
expect "previews are written" 0 '' "$INKLING" generate -p "a red fox" -o fox.png --preview steps --steps 4
check "one preview a step" test "$(ls steps | wc -l)" = 4
expect "style words are added" 0 'cartoon, colorful, friendly' bash -c "'$INKLING' generate -p 'a red fox' -o fox.png --style kids_cute_v2 2>/dev/null && '$INKLING' inspect fox.png"
expect "a negative prompt without guidance is not passed over in silence" 0 'no effect' "$INKLING" generate -p "a red fox" -n blurry -o fox.png
expect "an environment value of false switches a flag off" 0 '^.*progress' env INKLING_JSON=false "$INKLING" generate -p "a red fox" -o fox.png
expect "an instruction beyond the limit" 2 'at most 1024' bash -c "'$INKLING' edit -i duck.png -o x.png -p \"\$(head -c 6000 /dev/zero | tr '\\0' 'a' | sed 's/a/a /g')\""
expect "a mask keeps the picture's geometry" 2 'mask' "$INKLING" edit -i duck.png --mask duck.png -W 128 -H 128 -p x -o x.png
expect "no negative prompt and scale 1: no guidance" 0 '"cfg_scale":1.0' "$INKLING" generate -p "a red fox" -o fox.png --json
expect "webp and jpeg are written" 0 '' bash -c "'$INKLING' generate -p 'a fox' -o fox.webp && '$INKLING' generate -p 'a fox' -o fox.jpg && '$INKLING' inspect fox.webp"
expect "plan needs no weights" 0 'denoise' "$INKLING" plan --model qwen-image -W 512 -H 512
expect "plan says what is too small" 4 'smallest' "$INKLING" plan --model qwen-image -W 1024 -H 1024 --max-vram 200MiB

expect "plan knows several devices" 0 'cpu: blocks 30 to 59 of 60' "$INKLING" plan --model qwen-image --device cpu,cpu --split blocks
expect "plan knows the pictures of an edit" 0 '800 x 608' "$INKLING" plan --model qwen-image-edit-2509 --references 2 --picture-size 800x600
expect "a size of pictures that is none" 2 'picture_size' "$INKLING" plan --references 1 --picture-size 800
expect "bench runs on a CPU" 0 '"forward_ms"' "$INKLING" bench --device cpu -W 128 --steps 1 --repeats 1 --json
expect "bench knows several devices" 0 'negative prompt' "$INKLING" bench --device cpu,cpu -W 128 --steps 1 --repeats 1 --cfg-scale 4
expect "bench times kernels" 0 '"of_ceiling"' "$INKLING" bench --kernels --device cpu -W 128 --repeats 1 --json
expect "bench says what does not fit" 4 'free; try' "$INKLING" bench --device cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu --batch 8 -m qwen-image --precision f32

# --- quantize
MODELS=$(cd "$(dirname "$INKLING")/../.." && pwd)/models
expect "quantizes a model folder" 0 'q8_0 x' "$INKLING" quantize "$MODELS/inkling-tiny" tiny-q8
expect "the quantized folder draws" 0 '' "$INKLING" generate -p "a red fox" -o fox.png --model tiny-q8
expect "quantizes one file, report as JSON" 0 '"f8_e4m3"' "$INKLING" quantize --to fp8 "$MODELS/inkling-tiny/transformer" dit.safetensors --json
expect "the fp8 transformer draws" 0 '' "$INKLING" generate -p "a red fox" -o fox.png --dit dit.safetensors
for type in w8a8 w4a8 nf4; do
  expect "quantizes a folder to $type" 0 "$type x" "$INKLING" quantize --to $type "$MODELS/inkling-tiny" tiny-$type
  expect "the $type folder draws" 0 '' "$INKLING" generate -p "a red fox" -o fox.png --model tiny-$type
done
expect "quantizes the text encoder with its tower to K blocks" 0 'q4_k x' "$INKLING" quantize --to q4_k "$MODELS/inkling-tiny/text_encoder" text.gguf
expect "which serves edits without an mmproj" 0 '' "$INKLING" edit -i duck.png -p 把帽子变成蓝色 -o x.png --text-encoder text.gguf
expect "quantize does not overwrite" 2 'exists already' "$INKLING" quantize --to fp8 "$MODELS/inkling-tiny/transformer" dit.safetensors
expect "quantize wants the right ending" 2 'gguf' "$INKLING" quantize "$MODELS/inkling-tiny/transformer" x.safetensors
expect "quantize knows its types" 2 'q8_0|q6_k' "$INKLING" quantize --to q3 "$MODELS/inkling-tiny" x
expect "quantize needs a model" 3 'no Qwen-Image' "$INKLING" quantize "$MODELS/inkling-tiny/vae" x.gguf

# --- bad arguments: exit 2, the field is named
for value in 0 -1 1000000000 1.5 '"512"' nan 99999999999999999999 513; do
  expect "width $value" 2 'width' "$INKLING" generate -p x -o x.png "-W=$value"
done
for value in 0 -1 1000000000; do
  expect "steps $value" 2 'steps' "$INKLING" generate -p x -o x.png "--steps=$value"
  expect "batch $value" 2 'batch' "$INKLING" generate -p x -o x.png "--batch=$value"
done
for value in inf nan -1 1e300 x; do expect "cfg $value" 2 'cfg_scale' "$INKLING" generate -p x -o x.png "--cfg-scale=$value"; done
for value in 9223372036854775808 -9223372036854775808 1e300 x; do expect "seed $value" 2 'seed' "$INKLING" generate -p x -o x.png "--seed=$value"; done
expect "unknown flag" 2 'no-such-flag' "$INKLING" generate -p x --no-such-flag 1
expect "wrong-case flag" 2 'Prompt' "$INKLING" generate --Prompt x
expect "unknown command" 2 '' "$INKLING" paint
expect "no prompt" 2 'prompt' "$INKLING" generate -o x.png
expect "only spaces" 2 'prompt' "$INKLING" generate -p '   ' -o x.png
expect "invalid UTF-8" 2 'UTF-8' "$INKLING" generate -p "$(printf 'a\xff\xfeb')" -o x.png
expect "lone surrogate" 2 'UTF-8' "$INKLING" generate -p "$(printf 'a\xed\xa0\x80b')" -o x.png
expect "a prompt beyond the limit" 2 'prompt' env -u INKLING_PROMPT bash -c "head -c 100000 /dev/zero | tr '\\0' a > long; '$INKLING' generate -o x.png -p \"\$(cat long)\""
expect "a long prompt is cut and says so" 0 'cut' bash -c "'$INKLING' generate -o long.png -p \"\$(head -c 6000 /dev/zero | tr '\\0' 'a' | sed 's/a/a /g')\""
expect "emoji, right-to-left, zero-width are drawn, not refused" 0 '' "$INKLING" generate -p "$(printf 'a 🐼 \u200b\u202e panda')" -o x.png
expect "special tokens in a prompt are text" 0 '' "$INKLING" generate -p '<|im_end|><|image_pad|><lora:x:1> a cat' -o x.png
expect "unknown output type" 2 'png' "$INKLING" generate -p x -o x.gif
expect "missing output folder" 2 'folder' "$INKLING" generate -p x -o nowhere/x.png
expect "bad style" 2 'kids_cute_v2' "$INKLING" generate -p x -o x.png --style gothic

# --- bad pictures: exit 2
expect "edit without a picture" 2 'image' "$INKLING" edit -p x -o x.png
expect "edit with four pictures" 2 'at most 3' "$INKLING" edit -i duck.png -i duck.png -i duck.png -i duck.png -p x -o x.png
expect "mask of another size" 2 'mask' bash -c "'$INKLING' generate -p fox -W 128 -H 128 -o small.png 2>/dev/null; '$INKLING' edit -i duck.png --mask small.png -p x -o x.png"
expect "missing picture" 2 'none.png' "$INKLING" edit -i none.png -p x -o x.png
printf '<svg xmlns="http://www.w3.org/2000/svg"/>' > a.svg.png
expect "SVG named PNG" 2 'SVG' "$INKLING" edit -i a.svg.png -p x -o x.png
printf 'GIF89a\x01\x00\x01\x00' > a.gif
expect "GIF" 2 'GIF' "$INKLING" edit -i a.gif -p x -o x.png
head -c 2000 duck.png > cut.png
expect "truncated PNG" 2 'cut.png' "$INKLING" edit -i cut.png -p x -o x.png
: > empty.png
expect "empty file" 2 'empty.png' "$INKLING" edit -i empty.png -p x -o x.png

# --- bad models: exit 3
expect "missing model" 3 'nowhere' "$INKLING" generate -p x -o x.png --model nowhere
printf '\x80\x04\x95junk' > model.ckpt
expect "pickle" 3 'safetensors' "$INKLING" generate -p x -o x.png --model model.ckpt
printf '\xff\xff\xff\xff\xff\xff\xff\x7f{}' > huge.safetensors
expect "safetensors header of 2^63 bytes" 3 'huge.safetensors' "$INKLING" inspect huge.safetensors
printf 'GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x00\x00\x00\x00\x00\x00\x00' > bad.gguf
expect "GGUF with 2^63 tensors" 3 'bad.gguf' "$INKLING" inspect bad.gguf
expect "missing LoRA" 3 'none.safetensors' "$INKLING" generate -p x -o x.png --lora none.safetensors
MODEL=${INKLING_MODELS:-$(cd "$(dirname "$INKLING")/../.." && pwd)/models}/inkling-tiny
cp -r "$MODEL" broken && head -c 100000 "$MODEL/transformer/diffusion_pytorch_model.safetensors" > broken/transformer/diffusion_pytorch_model.safetensors
expect "truncated weights" 3 'diffusion_pytorch_model.safetensors' "$INKLING" generate -p x -o y.png --model broken
check "nothing is written on failure" test ! -e y.png
rm -rf broken && cp -r "$MODEL" broken && echo '{' > broken/transformer/config.json
expect "broken config" 3 'config.json' "$INKLING" generate -p x -o y.png --model broken

rm -rf broken && cp -rL "$MODEL" broken
expect "a model file cut short while it is in use" 3 'cut short' bash -c "'$INKLING' generate -p 'a cat' -o y.png --model broken --steps 1000 --precision bf16 & sleep 2; truncate -s 4096 broken/transformer/diffusion_pytorch_model.safetensors; wait \$!"

# --- stopping and output failures
expect "no room for the picture" 1 'full.png' bash -c "ulimit -f 1; '$INKLING' generate -p 'a cat' -o full.png"
check "and no part of it is left" test ! -e full.png
timeout -s INT 3 "$INKLING" generate -p "a cat" -o stopped.png --steps 1000 >/dev/null 2>&1
check "Ctrl-C stops with nothing written" test ! -e stopped.png

# --- serving: what is refused before anything is served
expect "another address without a key" 2 'API key' "$INKLING" serve --listen 0.0.0.0:0
expect "a short key" 2 'openssl rand' "$INKLING" serve --listen 0.0.0.0:0 --api-key short
expect "no such port" 2 'port' "$INKLING" serve --listen 127.0.0.1:99999
expect "no such pages" 2 'nowhere' "$INKLING" serve --listen 127.0.0.1:0 --web-root nowhere
expect "no such device" 2 'device' "$INKLING" serve --listen 127.0.0.1:0 --device toaster
expect "no such config" 2 'nowhere.json' "$INKLING" serve --listen 127.0.0.1:0 --config nowhere.json
echo '{"models":7}' > bad.json
expect "a config that is wrong" 2 'models' "$INKLING" serve --listen 127.0.0.1:0 --config bad.json
python3 -c 'import socket,sys,time; s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(); print(s.getsockname()[1],flush=True); time.sleep(20)' > taken &
TAKEN=$!
sleep 0.5
expect "a port that is taken" 1 'in use' "$INKLING" serve --listen "127.0.0.1:$(cat taken)"
kill $TAKEN
expect "top without a server" 1 'no server' "$INKLING" top --once --url http://127.0.0.1:9
expect "top of something else" 2 'http://' "$INKLING" top --once --url ftp://x
expect "a pool without a folder" 2 'state' "$INKLING" pool --state none
expect "test sets that are not there" 2 'nowhere' "$INKLING" safety nowhere
check "worker is not offered" bash -c "! '$INKLING' --help | grep -q worker"
"$INKLING" serve --listen 127.0.0.1:0 --device cpu --state none --port-file port > served 2> log &
SERVER=$!
for _ in $(seq 100); do [ -s port ] && curl -sf "http://127.0.0.1:$(cat port)/readyz" >/dev/null && break; sleep 0.1; done
check "serve draws" bash -c "curl -sf http://127.0.0.1:\$(cat port)/v1/images/generations -H 'Content-Type: application/json' -d '{\"prompt\":\"a duck\"}' | grep -q b64_json"
check "top shows it" bash -c "'$INKLING' top --once --url http://127.0.0.1:\$(cat port) | grep -q 'cpu'"
kill -TERM $SERVER
check "serve ends cleanly on SIGTERM" wait $SERVER
check "it said where the pages are" grep -q '/editor' served

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
