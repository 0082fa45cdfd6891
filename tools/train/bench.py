"""Times attention variants and a DiT training step on random data, to choose between them.

    python -m tools.train.bench [--batch 320 192]
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import config as C
from . import nets
from . import templates as T
from .dit import COMPILED, Model, Random, Trainer
from .optim import Average, Optimizer


def timed(fn, repeat: int = 20) -> float:
    for _ in range(3):
        fn()
    torch.cuda.synchronize()
    start = time.time()
    for _ in range(repeat):
        fn()
    torch.cuda.synchronize()
    return (time.time() - start) / repeat * 1e3


def attention(b: int, s: int, room: int) -> None:
    q, k, v = (torch.randn(b, s, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    length = torch.randint(10, room, (b,), device="cuda")
    mask = torch.cat((torch.arange(room, device="cuda")[None] < length[:, None],
                      torch.ones(b, s - room, dtype=torch.bool, device="cuda")), 1)
    g = torch.randn(b, s, 4, 64, device="cuda", dtype=torch.bfloat16)

    def sdpa(backend, bias):
        def run():
            with sdpa_kernel(backend):
                y = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), attn_mask=bias)
            y.transpose(1, 2).backward(g)
        return run

    bias = torch.where(mask, 0.0, float("-inf")).to(torch.bfloat16)[:, None, None, :]
    cases = {
        "flash, no mask": sdpa(SDPBackend.FLASH_ATTENTION, None),
        "cudnn, no mask": sdpa(SDPBackend.CUDNN_ATTENTION, None),
        "efficient, bias": sdpa(SDPBackend.EFFICIENT_ATTENTION, bias.expand(-1, 4, s, -1)),
        "cudnn, bias": sdpa(SDPBackend.CUDNN_ATTENTION, bias.expand(-1, 4, s, -1)),
    }
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        flex = torch.compile(flex_attention, dynamic=False)
        block = create_block_mask(lambda bb, h, i, j: (j >= room) | (j < length[bb]), b, None, s, s, device="cuda")

        def run_flex():
            flex(*(t.transpose(1, 2) for t in (q, k, v)), block_mask=block).transpose(1, 2).backward(g)

        cases["flex"] = run_flex
    except Exception as e:
        print("flex:", e)
    for name, fn in cases.items():
        try:
            print(f"attention {b}x{s} {name}: {timed(fn):.2f} ms forward and backward", flush=True)
        except Exception as e:
            print(f"attention {b}x{s} {name}: {str(e)[:120]}", flush=True)


def step(sizes: tuple[int, int], whole: bool) -> None:
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 64
    device = torch.device("cuda")
    print("attention:", nets.choose_attention(device))
    model = Model(2304).to(device)
    trainer = Trainer(model, Random(), (torch.zeros(T.T2I_DROP + C.TEXT_ROOM).long(), 6), sizes, device, () if whole else COMPILED)
    if whole:
        model.dit.compile(dynamic=False)
        model.te.compile(dynamic=False)
    optimizer, average = Optimizer(model, 1e-3, 1e-3), Average(model, 0.999)

    def generate():
        with torch.autocast("cuda", torch.bfloat16):
            trainer.generation_loss().backward()

    def edit():
        with torch.autocast("cuda", torch.bfloat16):
            trainer.editing_loss().backward()

    def update():
        optimizer.fill()
        optimizer.clip(1.0)
        optimizer.step(1.0)
        average.update()

    start = time.time()
    generate(), edit(), update()
    torch.cuda.synchronize()
    print(f"whole model compiled: {whole}, first step {time.time() - start:.1f} s", flush=True)
    for name, fn in (("generate", generate), ("edit", edit), ("update", update)):
        print(f"  {name}: {timed(fn):.2f} ms", flush=True)
    print(f"  memory {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--batch", type=int, nargs=2, default=(320, 192))
    p.add_argument("--whole", action="store_true")
    a = p.parse_args()
    print(torch.cuda.get_device_name(), torch.__version__)
    attention(a.batch[0], C.GRID ** 2 + C.TEXT_ROOM, C.TEXT_ROOM)
    attention(a.batch[1], 2 * C.GRID ** 2 + C.EDIT_ROOM, C.EDIT_ROOM)
    step(tuple(a.batch), False)
    if a.whole:
        step(tuple(a.batch), True)


if __name__ == "__main__":
    main()
