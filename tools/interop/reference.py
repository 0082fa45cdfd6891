"""The forward that all others are compared with: diffusers' transformer in float32."""

from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file

IMAGE_TOKENS = (8, 12)  # of a picture of 128x192


def inputs() -> dict[str, torch.Tensor]:
    """A latent as ComfyUI takes it, the same as diffusers takes it, 20 text tokens, a time that bfloat16 holds."""
    generator = torch.Generator().manual_seed(1)
    height, width = IMAGE_TOKENS
    latent = torch.randn(1, 16, 1, 2 * height, 2 * width, generator=generator)
    text = torch.randn(1, 20, 3584, generator=generator)
    return {"latent": latent, "packed": pack(latent), "sigma": torch.tensor([0.75]), "text": text}


def pack(latent: torch.Tensor) -> torch.Tensor:
    """Latent to tokens, [1, tokens, 64]."""
    _, channels, _, height, width = latent.shape
    patches = latent.reshape(1, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(1, height * width // 4, channels * 4)


def velocity(weights: Path, config: dict) -> torch.Tensor:
    """As tokens. `weights`: safetensors of plain numbers."""
    with torch.device("meta"):
        model = QwenImageTransformer2DModel.from_config(config)
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    model.load_state_dict(state, assign=True)
    # its tables are in no file
    model.pos_embed = type(model.pos_embed)(theta=10000, axes_dim=list(config["axes_dims_rope"]), scale_rope=True)
    given = inputs()
    with torch.no_grad():
        return model.eval()(
            hidden_states=given["packed"],
            encoder_hidden_states=given["text"],
            encoder_hidden_states_mask=torch.ones(1, given["text"].shape[1], dtype=torch.int64),
            timestep=given["sigma"],
            img_shapes=[[(1, *IMAGE_TOKENS)]],
            return_dict=False,
        )[0]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


class WeightComparison:
    """Of matrices that another program unpacked with those that inkling unpacked into bfloat16."""

    def __init__(self) -> None:
        self.matrices = self.elements = self.equal = 0
        self.worst = 0.0  # relative distance of a matrix

    def add(self, theirs: torch.Tensor, ours: torch.Tensor) -> None:
        if theirs.shape != ours.shape:
            raise ValueError(f"{tuple(theirs.shape)} and {tuple(ours.shape)}")
        self.matrices += 1
        self.elements += ours.numel()
        rounded, ours = theirs.bfloat16(), ours.bfloat16()
        self.equal += int((rounded == ours).sum())
        self.worst = max(self.worst, ((rounded.float() - ours.float()).norm() / ours.float().norm()).item())

    def add_file(self, theirs: Path, ours: Path) -> None:
        with safe_open(theirs, "pt") as a, safe_open(ours, "pt") as b:
            for name in a.keys():
                if name != "velocity":
                    self.add(a.get_tensor(name), b.get_tensor(name))

    @property
    def share(self) -> float:
        return self.equal / max(self.elements, 1)
