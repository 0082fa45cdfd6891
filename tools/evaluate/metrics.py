"""What the bars are measured with: the scorer's reading of a picture, and similarity outside an edit."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.train import scorer as scoring
from tools.train.data import attribute_names, attributes

BARS = {"animal": 0.97, "color": 0.95, "accessory": 0.90, "action": 0.85, "edit done": 0.90, "edit ssim": 0.92}


@torch.no_grad()
def read_attributes(scorer, images: Tensor) -> list[dict[str, str]]:
    """uint8 [N, 256, 256, 3] -> for each picture the likeliest class of each attribute ("none" is absence)."""
    names = attribute_names()
    out = [{} for _ in images]
    for start in range(0, len(images), 64):
        x = scoring.normalise(images[start:start + 64].to(scorer.texts.device))
        for attribute, logits in zip(names, scorer(x)):
            for i, k in enumerate(logits.argmax(1).tolist()):
                out[start + i][attribute] = names[attribute][k] or "none"
    return out


def wanted(item) -> dict[str, str]:
    return {k: "none" if v is None else v for k, v in attributes(item).items()}


def edit_targets(edit) -> dict[str, str]:
    """The attributes an edit's operations set, with their values afterwards."""
    after = wanted(edit.after)
    product = "product" in after
    out = {}
    for op in edit.ops:
        kind = op["op"]
        if kind == "recolor":
            keys = ["color"]
        elif kind == "background":
            keys = ["product_background" if product else "background"]
        elif "label" in kind:
            keys = ["label"]
        else:
            keys = ["accessory", "accessory_color"]
        out |= {k: after[k] for k in keys if k in after}
    return out


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] twice -> structural similarity of luma at each pixel, 11 x 11 Gaussian window of 1.5."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=a.device)
    x, y = ((t.float() @ weights)[:, None] for t in (a, b))
    g = torch.exp(-((torch.arange(11, device=a.device) - 5.0) ** 2) / (2 * 1.5 ** 2))
    g = (g / g.sum())[:, None] * (g / g.sum())[None]

    def blur(t):
        return F.conv2d(F.pad(t, (5, 5, 5, 5), mode="reflect"), g[None, None])

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2)))[:, 0]


def ssim_outside(result: Tensor, before: Tensor, mask: Tensor) -> list[float]:
    """Mean similarity with the input where the edit changes nothing; mask [N, H, W] marks what it may change.

    The mask is grown by the window's radius, so that no window of a counted pixel reaches into the edit. Pictures with
    less than one part in a hundred left are skipped (nan).
    """
    grown = F.max_pool2d(mask.float()[:, None], 11, 1, 5)[:, 0] > 0
    values = ssim_map(result, before)
    out = []
    for v, m in zip(values, grown):
        keep = ~m
        out.append(v[keep].mean().item() if keep.float().mean() > 0.01 else float("nan"))
    return out


def score_prompts(scorer, images: Tensor, scenes: list) -> dict[str, float]:
    found = read_attributes(scorer, images)
    hits: dict[str, list[bool]] = {}
    for f, scene in zip(found, scenes):
        w = wanted(scene)
        for k, v in w.items():
            hits.setdefault(k, []).append(f[k] == v)
        hits.setdefault("all four", []).append(all(f[k] == w[k] for k in ("animal", "color", "accessory", "action")))
    return {k: float(np.mean(v)) for k, v in hits.items()}


def score_edits(scorer, images: Tensor, before: Tensor, masks: Tensor, edits: list) -> dict[str, float]:
    found = read_attributes(scorer, images)
    done, by_op = [], {}
    for f, e in zip(found, edits):
        ok = all(f[k] == v for k, v in edit_targets(e).items())
        done.append(ok)
        for op in e.ops:
            by_op.setdefault("done: " + op["op"], []).append(ok)
    similarity = np.array(ssim_outside(images, before, masks))
    return {"edit done": float(np.mean(done)), "edit ssim": float(np.nanmean(similarity)),
            "edit ssim, worst tenth": float(np.nanquantile(similarity, 0.1)),
            **{k: float(np.mean(v)) for k, v in sorted(by_op.items())}}


def table(scores: dict[str, float]) -> str:
    lines = []
    for k, v in scores.items():
        bar = BARS.get(k)
        mark = "" if bar is None else f"   bar {bar:.2f} {'met' if v >= bar else 'MISSED'}"
        lines.append(f"{k:28s} {v:6.3f}{mark}")
    return "\n".join(lines)
