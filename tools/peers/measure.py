"""Times what inkling is compared with, and the ceilings of the chip it runs on, in one process.

Models are made from their configurations with random weights on the device: no checkpoint is read, and times do not
depend on values. Every number is the median of RUNS after WARM_UP runs; a section that fails or no longer fits into
--seconds is reported as such, and the others go on. See README.md."""
import argparse
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import torch

RUNS, WARM_UP = 10, 3
TEXT_TOKENS = 60
# Sides of the picture, and of the reference picture of an edit (0: none).
CASES = [("512", 512, 0), ("1024", 1024, 0), ("1024 edit", 1024, 1024)]
WIDTH, BLOCKS = 3072, 60


class Bench:
    def __init__(self, device, tiny, seconds):
        self.device, self.tiny = torch.device(device), tiny
        self.cuda = self.device.type == "cuda"
        self.end = time.monotonic() + seconds
        self.rows = []

    def left(self):
        return self.end - time.monotonic()

    def median_ms(self, run, runs=RUNS, warm_up=WARM_UP):
        """run(i) -> None. Events on the GPU, a clock on the CPU."""
        times = []
        for i in range(warm_up + runs):
            if self.cuda:
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                run(i)
                end.record()
                end.synchronize()
                ms = start.elapsed_time(end)
            else:
                t = time.perf_counter()
                run(i)
                ms = (time.perf_counter() - t) * 1e3
            if i >= warm_up:
                times.append(ms)
        return statistics.median(times)

    def peak_mib(self, run):
        """Device memory that the allocator held at most during run(), everything resident included."""
        if not self.cuda:
            run()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**20

    def row(self, peer, case, ms=None, tflop=None, gb=None, peak_mib=None, note=None):
        row = {"peer": peer, "case": case}
        if ms is not None:
            row["ms"] = round(ms, 4)
        if tflop is not None:
            row["tflops"] = round(tflop / ms * 1e3, 1)
        if gb is not None:
            row["gb_per_s"] = round(gb / ms * 1e3, 1)
        if peak_mib is not None:
            row["peak_mib"] = round(peak_mib)
        if note:
            row["note"] = note
        self.rows.append(row)
        print(line(row), flush=True)

    def free(self):
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()


def line(row):
    cells = [row["peer"], row["case"], f"{row['ms']:.3f}" if "ms" in row else ""]
    cells += [str(row.get(k, "")) for k in ("tflops", "gb_per_s", "peak_mib", "note")]
    return "| " + " | ".join(cells) + " |"


def materialize(make, device, dtype=torch.bfloat16):
    """Builds a module with its parameters on `device`, never a copy on the CPU; other tensors (RoPE tables) as made."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        module = make()
    normals = torch.randn(1 << 20, device=device).to(dtype)  # repeated: 20 B of them would take a CPU minutes
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is None:
                continue
            value = torch.empty(p.shape, dtype=dtype, device=device)
            if p.dim() > 1:
                flat = value.view(-1)
                for start in range(0, flat.numel(), normals.numel()):
                    piece = flat[start : start + normals.numel()]
                    torch.mul(normals[: piece.numel()], p[0].numel() ** -0.5, out=piece)
            else:
                value.fill_(0.0 if name == "bias" else 1.0)
            part._parameters[name] = torch.nn.Parameter(value, requires_grad=False)
        for name, b in part._buffers.items():
            if b is not None:
                part._buffers[name] = b.to(device)
    return module.eval()


# --- the chip ---------------------------------------------------------------------------------------------------


def ceilings(b):
    size = 1 << 20 if b.tiny else 1 << 30
    x, y = (torch.empty(size, dtype=torch.uint8, device=b.device) for _ in range(2))
    b.row("chip", "device copy, read + write", ms := b.median_ms(lambda i: y.copy_(x)), gb=2 * size * 1e-9)
    if b.cuda:
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        b.row("chip", "pinned host to device", b.median_ms(lambda i: x.copy_(host, non_blocking=True)), gb=size * 1e-9)
        b.row("chip", "device to pinned host", b.median_ms(lambda i: host.copy_(x, non_blocking=True)), gb=size * 1e-9)
        del host
    del x, y
    b.free()
    matmuls(b)


def matmuls(b):
    """The image stream's four matrix products of a block, sums over them; tokens as in CASES."""
    d = 64 if b.tiny else 3072
    shapes = [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)]
    for tokens in [96] if b.tiny else [1088, 4160, 8256]:
        tflop = sum(2 * tokens * n * k for n, k in shapes) * 1e-12
        for name, make in [("bf16", bf16_matmul), ("fp8 row-wise", fp8_matmul), ("int8", int8_matmul)]:
            try:
                ms = sum(b.median_ms(make(b.device, tokens, n, k)) for n, k in shapes)
            except Exception as e:  # this torch or this chip has no such product
                b.row(f"torch matmul {name}", f"{tokens} tokens", note=short(e))
                continue
            b.row(f"torch matmul {name}", f"{tokens} tokens, one block's image stream", ms, tflop=tflop)


def bf16_matmul(device, m, n, k):
    x, w = (torch.randn(r, k, device=device).to(torch.bfloat16) for r in (m, n))
    return lambda i: x @ w.t()


def fp8_matmul(device, m, n, k):
    x, w = (torch.randn(r, k, device=device).to(torch.float8_e4m3fn) for r in (m, n))
    sx, sw = torch.ones(m, 1, device=device), torch.ones(1, n, device=device)
    return lambda i: torch._scaled_mm(x, w.t(), scale_a=sx, scale_b=sw, out_dtype=torch.bfloat16)


def int8_matmul(device, m, n, k):
    x, w = (torch.randint(-127, 128, (r, k), device=device, dtype=torch.int8) for r in (m, n))
    return lambda i: torch._int_mm(x, w.t())


def attention(b):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    heads, dim = (2, 32) if b.tiny else (24, 128)
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
    for name, backend in backends.items() if b.cuda else {"math": SDPBackend.MATH}.items():
        for case, side, reference in CASES:
            tokens = 70 if b.tiny else image_tokens(side) + image_tokens(reference) + TEXT_TOKENS
            q, k, v = (torch.randn(1, heads, tokens, dim, device=b.device, dtype=torch.bfloat16) for _ in range(3))
            try:
                with sdpa_kernel(backend):
                    ms = b.median_ms(lambda i: torch.nn.functional.scaled_dot_product_attention(q, k, v))
            except RuntimeError as e:
                b.row(f"torch SDPA {name}", f"{tokens} tokens", note=short(e))
                continue
            b.row(f"torch SDPA {name}", f"{case}, {tokens} tokens", ms, tflop=4 * tokens**2 * heads * dim * 1e-12)


def convolutions(b):
    """cuDNN through torch: the decoder's convolutions at 1024 x 1024, channels last."""
    torch.backends.cudnn.benchmark = True
    cases = [(16, 8, 8)] if b.tiny else [(128, 384, 384), (256, 384, 384), (512, 192, 192), (1024, 96, 96)]
    for side, cin, cout in cases:
        options = {"device": b.device, "dtype": torch.bfloat16}
        x = torch.randn(1, cin, side, side, **options).to(memory_format=torch.channels_last)
        w = torch.randn(cout, cin, 3, 3, **options).to(memory_format=torch.channels_last)
        bias = torch.randn(cout, **options)
        ms = b.median_ms(lambda i: torch.nn.functional.conv2d(x, w, bias, padding=1))
        b.row("torch conv2d (cuDNN)", f"{side}^2, {cin} > {cout}", ms, tflop=18 * side * side * cin * cout * 1e-12)


# --- diffusers --------------------------------------------------------------------------------------------------


def image_tokens(side):
    return (side // 16) ** 2


def transformer(b, device, blocks=BLOCKS):
    from diffusers import QwenImageTransformer2DModel

    config = dict(num_layers=2, attention_head_dim=32, num_attention_heads=2, joint_attention_dim=64,
                  axes_dims_rope=(8, 12, 12)) if b.tiny else dict(num_layers=blocks)
    return materialize(lambda: QwenImageTransformer2DModel(**config), device)


def transformer_inputs(b, side, reference):
    if b.tiny:
        side, reference = side // 16, reference // 16
    sides = [side] + ([reference] if reference else [])
    options = {"device": b.device, "dtype": torch.bfloat16}
    return {
        "hidden_states": torch.randn(1, sum(image_tokens(s) for s in sides), 64, **options),
        "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, 64 if b.tiny else 3584, **options),
        "encoder_hidden_states_mask": None,  # as the pipeline passes it when there is no padding
        "timestep": torch.tensor([0.5], **options),
        "img_shapes": [[(1, s // 16, s // 16) for s in sides]],
        "return_dict": False,
    }


def time_transformer(b, model, peer, cases, runs=RUNS, warm_up=WARM_UP, blocks=BLOCKS):
    for case, side, reference in cases:
        inputs = transformer_inputs(b, side, reference)
        tokens = inputs["hidden_states"].shape[1] + TEXT_TOKENS
        with torch.no_grad():
            ms = b.median_ms(lambda i: model(**inputs), runs, warm_up)
            peak = b.peak_mib(lambda: model(**inputs))
        # Of the linear layers and of attention; the modulation is negligible.
        tflop = None if b.tiny else blocks * (24 * WIDTH**2 * tokens + 4 * tokens**2 * WIDTH) * 1e-12
        b.row(peer, f"{case}, forward", ms, tflop=tflop, peak_mib=peak)


def dit(b):
    model = transformer(b, b.device)
    time_transformer(b, model, "diffusers transformer bf16", CASES)


def dit_compiled(b):
    model = transformer(b, b.device)
    model.compile_repeated_blocks()
    time_transformer(b, model, "diffusers transformer bf16, compiled blocks", CASES[:2])


def dit_offloaded(b):
    """What diffusers offers to cards that cannot hold the model: one block at a time from host memory, on a stream.
    A third of the blocks: all of them, pinned in allocations of powers of two, would take 70 GB of host memory."""
    if not b.cuda:
        return b.row("diffusers group offload", "512", note="needs a GPU")
    blocks = BLOCKS // 3
    model = transformer(b, torch.device("cpu"), blocks)
    model.enable_group_offload(onload_device=b.device, offload_device=torch.device("cpu"), offload_type="block_level",
                               num_blocks_per_group=1, use_stream=True)
    peer = f"diffusers transformer bf16, group offload with stream, {blocks} of {BLOCKS} blocks"
    time_transformer(b, model, peer, CASES[:1], blocks=blocks)


def vae(b):
    from diffusers import AutoencoderKLQwenImage

    config = dict(base_dim=8, dim_mult=[1, 2, 4, 4], num_res_blocks=1) if b.tiny else {}
    model = materialize(lambda: AutoencoderKLQwenImage(**config), b.device)
    for side in [64] if b.tiny else [512, 1024]:
        z = torch.randn(1, 16, 1, side // 8, side // 8, device=b.device, dtype=torch.bfloat16)
        with torch.no_grad():
            ms = b.median_ms(lambda i: model.decode(z, return_dict=False))
            peak = b.peak_mib(lambda: model.decode(z, return_dict=False))
        b.row("diffusers VAE decode bf16", str(side), ms, peak_mib=peak)


def text(b):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 intermediate_size=128, vocab_size=1000) if b.tiny else dict(
        hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18944, vocab_size=152064)
    sections = [4, 2, 2] if b.tiny else [16, 24, 24]
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config=dict(sizes, max_position_embeddings=4096, rope_parameters=rope, rope_scaling=rope, rope_theta=1e6),
        vision_config=dict(depth=1, hidden_size=64, num_heads=4, intermediate_size=64,
                           out_hidden_size=sizes["hidden_size"]))
    model = materialize(lambda: Qwen2_5_VLForConditionalGeneration(config), b.device)
    ids = torch.randint(0, 900, (1, 98), device=b.device)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        ms = b.median_ms(lambda i: model(input_ids=ids, attention_mask=mask, output_hidden_states=True))
    b.row("transformers text encoder bf16", "98 tokens", ms)


# --- a program of its own ---------------------------------------------------------------------------------------


def parse_sd_cpp(log):
    """Milliseconds by name from stable-diffusion.cpp's log: '... completed, taking 2141 ms' and '9/9 - 1.5s/it'."""
    found = {}
    for name, value, unit in re.findall(r"([\w ]+?) completed, taking ([\d.]+) ?(ms|s)\b", log):
        found[name.strip()] = float(value) * (1e3 if unit == "s" else 1)
    steps = re.findall(r"\d+/\d+ - ([\d.]+)(s/it|it/s)", log)
    if steps:
        value, unit = float(steps[-1][0]), steps[-1][1]
        found["step"] = value * 1e3 if unit == "s/it" else 1e3 / value
    return found


def sd_cpp(b, command):
    started = time.monotonic()
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=max(10, b.left()))
    log = done.stdout + done.stderr
    if done.returncode != 0:
        return b.row("stable-diffusion.cpp", command, note=f"exit {done.returncode}: {log.strip().splitlines()[-1:]}")
    for name, ms in parse_sd_cpp(log).items():
        b.row("stable-diffusion.cpp", name, ms)
    b.row("stable-diffusion.cpp", "the whole command", (time.monotonic() - started) * 1e3)


def short(e):
    return " ".join(f"{type(e).__name__}: {e}".split())[:120]


# Name, function, seconds that it needs at least.
SECTIONS = [("ceilings", ceilings, 5), ("attention", attention, 3), ("conv", convolutions, 3), ("dit", dit, 15),
            ("vae", vae, 8), ("text", text, 8), ("offload", dit_offloaded, 40), ("compiled", dit_compiled, 60)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="sections, comma-separated: " + ", ".join(name for name, _, _ in SECTIONS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes: tries the program itself")
    parser.add_argument("--seconds", type=float, default=150, help="no section starts that would not end in time")
    parser.add_argument("--json", help="file to write")
    parser.add_argument("--sd-cpp", help="a whole command line of stable-diffusion.cpp to run and time")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [n for n, _, _ in SECTIONS if n != "compiled"]
    unknown = set(names) - {n for n, _, _ in SECTIONS}
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}")
    b = Bench(args.device, args.tiny, args.seconds)
    machine = {"torch": torch.__version__, "python": platform.python_version(),
               "device": torch.cuda.get_device_name() if b.cuda else platform.processor() or "cpu"}
    for package in ("diffusers", "transformers"):
        try:
            machine[package] = __import__(package).__version__
        except ImportError as e:
            machine[package] = short(e)
    print(json.dumps(machine))
    print("| what | case | ms | TFLOP/s | GB/s | peak MiB | note |\n|---|---|---|---|---|---|---|", flush=True)
    failed = 0
    for name, section, needs in SECTIONS:
        if name not in names:
            continue
        if b.left() < (0 if b.tiny else needs):
            b.row(name, "", note=f"not run: {b.left():.0f} s left, {needs} s needed")
            continue
        started = time.monotonic()
        try:
            section(b)
        except Exception as e:
            failed += 1
            b.row(name, "", note="failed: " + short(e))
        b.free()
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    if args.sd_cpp:
        sd_cpp(b, args.sd_cpp)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"machine": machine, "runs": RUNS, "warm_up": WARM_UP, "rows": b.rows}, f, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
