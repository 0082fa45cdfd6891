"""Stage `scorer`: a small CLIP that tells the attributes of the drawn world apart by their names."""

import csv
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config as C
from .data import Pool, attribute_names
from .optim import Average, Optimizer, plateau
from .vae import Pictures


def phrases() -> dict[str, dict[str, str]]:
    """attribute -> class -> the text whose embedding stands for it; the class "none" is absence."""
    from tools import world as w

    what = {"animal": "the animal is a {}", "color": "the body color is {}", "accessory": "it wears {}",
            "accessory_color": "the accessory color is {}", "action": "it is {}", "background": "in front of {}",
            "product": "the product is a {}", "product_background": "the product stands on {}",
            "label": "the label says {}", "label_corner": "the label is {}", "label_color": "the label color is {}"}
    names = {}
    for attribute, classes in attribute_names().items():
        names[attribute] = {}
        for c in classes:
            if c is None:
                name, text = "none", {"accessory": "it wears nothing", "label": "there is no label"}[attribute]
            else:
                table = w.BACKGROUND_NAMES if "background" in attribute else w.NAMES
                name, text = c, what[attribute].format(table[c]["en"][0] if c in table else c)
            names[attribute][name] = text
    return names


def clip_config(tokenizer_dir: Path):
    from transformers import CLIPConfig

    ids = json.loads((tokenizer_dir / "added_tokens.json").read_text())
    end = ids["<|endoftext|>"]
    return CLIPConfig(
        text_config=dict(C.SCORER["text"], vocab_size=C.vocab_size(tokenizer_dir), hidden_act="quick_gelu",
                         bos_token_id=ids["<|im_start|>"], eos_token_id=end, pad_token_id=end,
                         projection_dim=C.SCORER["projection_dim"]),
        vision_config=dict(C.SCORER["vision"], hidden_act="quick_gelu", projection_dim=C.SCORER["projection_dim"]),
        projection_dim=C.SCORER["projection_dim"])


def encode_phrases(tokenizer_dir: Path, texts: list[str]) -> Tensor:
    """<|im_start|> text <|endoftext|>, padded with <|endoftext|>; the first <|endoftext|> is where CLIP pools."""
    from tokenizers import Tokenizer

    tok = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    start, end = tok.token_to_id("<|im_start|>"), tok.token_to_id("<|endoftext|>")
    out = torch.full((len(texts), C.SCORER["text"]["max_position_embeddings"]), end)
    for row, text in zip(out, texts):
        ids = tok.encode(text).ids
        row[:len(ids) + 1] = torch.tensor([start, *ids])
        assert len(ids) + 2 <= len(row), text
    return out


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [B, 256, 256, 3] -> what the vision tower takes: mean = deviation = 0.5"""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(x: Tensor) -> Tensor:
    """Small shifts, softness, noise and tint, as a generated or reconstructed picture may have them."""
    b, device = x.shape[0], x.device
    theta = torch.zeros(b, 2, 3, device=device)
    zoom = 1 + 0.06 * (torch.rand(b, device=device) - 0.5)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = 0.08 * (torch.rand(b, 2, device=device) - 0.5)
    moved = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), padding_mode="border",
                          align_corners=False)
    pick = torch.rand(b, 1, 1, 1, device=device)
    soft = F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    softer = F.interpolate(F.avg_pool2d(moved, 2), scale_factor=2, mode="bilinear")
    moved = torch.where(pick < 0.5, moved, torch.where(pick < 0.85, soft, softer))
    gain = 1 + 0.08 * (torch.rand(b, 3, 1, 1, device=device) - 0.5)
    shift = 0.06 * (torch.rand(b, 3, 1, 1, device=device) - 0.5)
    level = 0.08 * torch.rand(b, 1, 1, 1, device=device)
    return moved * gain + shift + level * torch.randn_like(moved)


class Scorer(nn.Module):
    """CLIPModel plus the cut of its similarities into attributes."""

    def __init__(self, clip, texts: Tensor, sizes: list[int]):
        super().__init__()
        self.clip, self.sizes = clip, sizes
        self.register_buffer("texts", texts)

    def text_embeddings(self) -> Tensor:
        mask = torch.ones_like(self.texts)
        y = self.clip.text_projection(self.clip.text_model(input_ids=self.texts, attention_mask=mask).pooler_output)
        return F.normalize(y.float(), dim=-1)

    def image_embeddings(self, x: Tensor) -> Tensor:
        return F.normalize(self.clip.visual_projection(self.clip.vision_model(pixel_values=x).pooler_output).float(), dim=-1)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = self.image_embeddings(x) @ self.text_embeddings().T * self.clip.logit_scale.exp()
        return list(logits.split(self.sizes, dim=1))


def build(tokenizer_dir: Path) -> Scorer:
    from transformers import CLIPModel

    names = phrases()
    texts = encode_phrases(tokenizer_dir, [t for group in names.values() for t in group.values()])
    config = clip_config(tokenizer_dir)
    config._attn_implementation = "sdpa"
    return Scorer(CLIPModel(config), texts, [len(g) for g in names.values()])


def loss_of(logits: list[Tensor], attrs: Tensor) -> Tensor:
    return sum(F.cross_entropy(l, attrs[:, i].long(), ignore_index=-1, label_smoothing=0.02) for i, l in enumerate(logits))


@torch.no_grad()
def accuracy(scorer: Scorer, images: Tensor, attrs: Tensor, transform=None) -> dict[str, float]:
    names = list(attribute_names())
    hits, seen = torch.zeros(len(names)), torch.zeros(len(names))
    for i in range(0, len(images), 256):
        x = normalise(images[i:i + 256])
        if transform:
            x = transform(x)
        target = attrs[i:i + 256].long()
        for k, l in enumerate(scorer(x)):
            ok = target[:, k] >= 0
            hits[k] += (l.argmax(1) == target[:, k])[ok].sum().cpu()
            seen[k] += ok.sum().cpu()
    return {n: (hits[k] / seen[k].clamp_min(1)).item() for k, n in enumerate(names)}


def train(pool: Pool, heldout: tuple[Tensor, Tensor], tokenizer_dir: Path, out: Path, seconds: float, batch: int = 512,
          device: str = "cuda", lr: float = 2e-3) -> Scorer:
    torch.manual_seed(1)
    torch._dynamo.config.recompile_limit = 64
    cuda = device.startswith("cuda")
    device = torch.device(device)
    scorer = build(tokenizer_dir).to(device)
    with torch.no_grad():
        scorer.clip.logit_scale.fill_(2.7)
    optimizer = Optimizer(scorer, lr=lr, adam_lr=1e-3, weight_decay=0.02)
    average = Average(scorer, 0.998)
    pictures = Pictures(pool, device)
    pictures.wait(4 * batch)
    images, attrs = heldout[0].to(device), heldout[1].to(device)

    def objective(pixels, target):
        return loss_of(scorer(augment(normalise(pixels))), target)

    step_fn = torch.compile(objective, dynamic=False) if cuda else objective
    log = csv.writer(open(out / "scorer.csv", "w", buffering=1))
    log.writerow(["seconds", "step", "loss", "pictures", *attribute_names()])
    start, step, last = time.time(), 0, 0.0
    while True:
        progress = (time.time() - start) / seconds
        if progress >= 1:
            break
        if step % 4 == 0:
            pictures.refresh()
        index = torch.randint(pictures.count, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            loss = step_fn(pictures.store["image"][index], pictures.store["attrs"][index])
        loss.backward()
        optimizer.clip(1.0)
        optimizer.step(plateau(progress, decay=0.5))
        optimizer.zero_grad()
        with torch.no_grad():
            scorer.clip.logit_scale.clamp_(0, 4.6)
        average.update()
        step += 1
        if step in (10, 100) or time.time() - start - last > 20:
            last = time.time() - start
            average.swap()
            right = accuracy(scorer, images[:1024], attrs[:1024])
            average.swap()
            row = [f"{last:.1f}", step, f"{loss.item():.4f}", pictures.count, *(f"{v:.4f}" for v in right.values())]
            log.writerow(row)
            print("scorer", *row, flush=True)
    average.swap()
    for label, transform in (("clean", None), ("augmented", augment)):
        right = accuracy(scorer, images, attrs, transform)
        print(f"scorer, {label} held-out pictures:", " ".join(f"{k} {100 * v:.2f}" for k, v in right.items()), flush=True)
        log.writerow([label, step, "", pictures.count, *(f"{v:.4f}" for v in right.values())])
    torch.save({k: v.half().cpu() for k, v in scorer.clip.state_dict().items() if v.is_floating_point()}, out / "scorer.pt")
    return scorer


def save(scorer: Scorer, tokenizer_dir: Path, folder: Path) -> None:
    """transformers layout; labels.json holds the phrases, so that other programs need no copy of the world."""
    import shutil
    from .export import write_json

    clip = scorer.clip.to(torch.bfloat16)
    clip.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"):
        shutil.copy(tokenizer_dir / name, folder / name)
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": False, "do_rescale": True,
        "do_normalize": True, "do_convert_rgb": True, "size": {"height": C.SIZE, "width": C.SIZE}, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    write_json(folder / "labels.json", {
        "text": "<|im_start|>{phrase}<|endoftext|>, padded with <|endoftext|> to max_position_embeddings; attention is causal",
        "attributes": phrases()})


def load(folder: Path, device: str = "cpu") -> Scorer:
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    names = json.loads((folder / "labels.json").read_text())["attributes"]
    texts = encode_phrases(folder, [t for g in names.values() for t in g.values()])
    return Scorer(clip, texts, [len(g) for g in names.values()]).eval().to(device)
