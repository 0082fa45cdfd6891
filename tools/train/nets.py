"""The three networks as plain torch modules for training.

Parameter names equal those of the diffusers / transformers classes (export.py carries them over and checks that both
give the same numbers); only the forward passes differ: one frame for the VAE, real-valued rotary tables, fixed token
layouts, and no branches, so that torch.compile sees straight-line code.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import config as C


# ---------------------------------------------------------------- VAE (one frame: a causal 3x3x3 kernel is a 3x3)

class ChannelNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W]
        y = F.normalize(x.float(), dim=1) * math.sqrt(x.shape[1]) * self.gamma
        return y.to(x.dtype)


class VaeResBlock(nn.Module):
    def __init__(self, cin: int, cout: int):
        super().__init__()
        self.norm1 = ChannelNorm(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2 = ChannelNorm(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.conv2(F.silu(self.norm2(y))) + self.conv_shortcut(x)


class VaeAttention(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.to_qkv(self.norm(x)).reshape(b, 1, 3 * c, h * w).transpose(2, 3).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
        return x + self.proj(y.squeeze(1).transpose(1, 2).reshape(b, c, h, w))


class VaeMid(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.resnets = nn.ModuleList([VaeResBlock(dim, dim), VaeResBlock(dim, dim)])
        self.attentions = nn.ModuleList([VaeAttention(dim)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class VaeDown(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


class VaeUp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(dim, dim // 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.resample[1](F.interpolate(x, scale_factor=2, mode="nearest"))


class VaeUpBlock(nn.Module):
    def __init__(self, cin: int, cout: int, blocks: int, up: bool):
        super().__init__()
        self.resnets = nn.ModuleList(VaeResBlock(cin if i == 0 else cout, cout) for i in range(blocks))
        self.upsamplers = nn.ModuleList([VaeUp(cout)]) if up else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        return self.upsamplers[0](x) if self.upsamplers is not None else x


class VaeEncoder(nn.Module):
    def __init__(self, base: int, z: int, mult: list[int], blocks: int):
        super().__init__()
        dims = [base * m for m in [1] + mult]
        self.conv_in = nn.Conv2d(3, dims[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip(dims[:-1], dims[1:])):
            for j in range(blocks):
                self.down_blocks.append(VaeResBlock(cin if j == 0 else cout, cout))
            if i + 1 < len(mult):
                self.down_blocks.append(VaeDown(cout))
        self.mid_block = VaeMid(dims[-1])
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = nn.Conv2d(dims[-1], z, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(self.mid_block(x))))


class VaeDecoder(nn.Module):
    def __init__(self, base: int, z: int, mult: list[int], blocks: int):
        super().__init__()
        dims = [base * m for m in [mult[-1]] + mult[::-1]]
        self.conv_in = nn.Conv2d(z, dims[0], 3, padding=1)
        self.mid_block = VaeMid(dims[0])
        self.up_blocks = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip(dims[:-1], dims[1:])):
            self.up_blocks.append(VaeUpBlock(cin // 2 if i else cin, cout, blocks + 1, i + 1 < len(mult)))
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = nn.Conv2d(dims[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Vae(nn.Module):
    def __init__(self, base_dim: int, z_dim: int, dim_mult: list[int], num_res_blocks: int, **_):
        super().__init__()
        self.z_dim = z_dim
        self.encoder = VaeEncoder(base_dim, 2 * z_dim, dim_mult, num_res_blocks)
        self.quant_conv = nn.Conv2d(2 * z_dim, 2 * z_dim, 1)
        self.post_quant_conv = nn.Conv2d(z_dim, z_dim, 1)
        self.decoder = VaeDecoder(base_dim, z_dim, dim_mult, num_res_blocks)
        self.register_buffer("latents_mean", torch.zeros(z_dim), persistent=True)
        self.register_buffer("latents_std", torch.ones(z_dim), persistent=True)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [B, 3, H, W] in [-1, 1]
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode_raw(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latent mean, what the DiT works on."""
        mean = self.moments(x)[0].float()
        return (mean - self.latents_mean.view(1, -1, 1, 1)) / self.latents_std.view(1, -1, 1, 1)

    def decode(self, z: Tensor) -> Tensor:
        z = z * self.latents_std.view(1, -1, 1, 1) + self.latents_mean.view(1, -1, 1, 1)
        return self.decode_raw(z).clamp(-1, 1)


# ---------------------------------------------------------------- shared pieces

class RmsNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


def rotate_half(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Interleaved pairs (2p, 2p+1); cos, sin [S, D/2]; x [B, S, heads, D]."""
    y = x.float().unflatten(-1, (-1, 2))
    a, b = y[..., 0], y[..., 1]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)


# ---------------------------------------------------------------- text encoder (Qwen2.5-VL)

class TextAttention(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, kv_heads * self.head_dim)
        self.v_proj = nn.Linear(dim, kv_heads * self.head_dim)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, s, _ = x.shape
        q = self.q_proj(x).view(b, s, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, s, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, s, self.kv_heads, self.head_dim).transpose(1, 2)
        q = (q * cos + rotate_half(q) * sin).to(v.dtype)
        k = (k * cos + rotate_half(k) * sin).to(v.dtype)
        rep = self.heads // self.kv_heads
        k, v = k.repeat_interleave(rep, dim=1), v.repeat_interleave(rep, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, s, -1))


class GatedMlp(nn.Module):
    def __init__(self, dim: int, inner: int, bias: bool):
        super().__init__()
        self.gate_proj = nn.Linear(dim, inner, bias=bias)
        self.up_proj = nn.Linear(dim, inner, bias=bias)
        self.down_proj = nn.Linear(inner, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class TextLayer(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.self_attn = TextAttention(c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"])
        self.mlp = GatedMlp(c["hidden_size"], c["intermediate_size"], bias=False)
        self.input_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class TextModel(nn.Module):
    def __init__(self, c: dict, vocab: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, c["hidden_size"])
        self.layers = nn.ModuleList(TextLayer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])


class VisionAttention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, s, d = x.shape
        q, k, v = self.qkv(x).view(b, s, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        q = (q * cos + rotate_half(q) * sin).to(v.dtype)
        k = (k * cos + rotate_half(k) * sin).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, s, d))


class VisionBlock(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.norm1 = RmsNorm(c["hidden_size"])
        self.norm2 = RmsNorm(c["hidden_size"])
        self.attn = VisionAttention(c["hidden_size"], c["num_heads"])
        self.mlp = GatedMlp(c["hidden_size"], c["intermediate_size"], bias=True)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class VisionMerger(nn.Module):
    def __init__(self, dim: int, out: int, unit: int):
        super().__init__()
        self.ln_q = RmsNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim * unit, dim * unit), nn.GELU(), nn.Linear(dim * unit, out))

    def forward(self, x: Tensor) -> Tensor:  # [B, patches, dim] -> [B, patches / unit, out]
        x = self.ln_q(x)
        return self.mlp(x.reshape(x.shape[0], -1, self.mlp[0].in_features))


class Vision(nn.Module):
    """Fixed 112 x 112 input: one window, so windowed and full attention coincide and nothing is permuted."""

    MEAN = (0.48145466, 0.4578275, 0.40821073)
    STD = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, c: dict):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv3d(3, c["hidden_size"], (2, 14, 14), (2, 14, 14), bias=False)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c["depth"]))
        self.merger = VisionMerger(c["hidden_size"], c["out_hidden_size"], c["spatial_merge_size"] ** 2)
        side = C.VL_SIZE // 14
        rows = torch.arange(side)[:, None].expand(side, side)
        merge = lambda t: t.reshape(side // 2, 2, side // 2, 2).permute(0, 2, 1, 3).flatten()  # noqa: E731
        y, x = merge(rows), merge(rows.T)
        quarter = c["hidden_size"] // c["num_heads"] // 2
        freq = 1.0 / 10000.0 ** (torch.arange(0, quarter, 2).float() / quarter)
        angle = torch.cat((y[:, None] * freq, x[:, None] * freq), dim=-1)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.register_buffer("mean", torch.tensor(self.MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 112, 112, 3] -> [B, 16, hidden of the text model]."""
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        b, side = x.shape[0], C.VL_SIZE // 14
        # patches in merge order: block row, block column, inner row, inner column
        x = x.view(b, 3, side // 2, 2, 14, side // 2, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)
        x = x.reshape(b, side * side, 3, 14 * 14)
        weight = self.patch_embed.proj.weight.sum(dim=2)  # the still picture is repeated over both time slots
        x = F.linear(x.flatten(2), weight.flatten(1))
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.merger(x)


class TextEncoder(nn.Module):
    """Names as in Qwen2_5_VLForConditionalGeneration (model.language_model.*, model.visual.*), head tied."""

    def __init__(self, text: dict, vision: dict, vocab: int):
        super().__init__()
        self.config = text
        self.model = nn.Module()
        self.model.language_model = TextModel(text, vocab)
        self.model.visual = Vision(vision)
        from . import templates as T

        length = T.T2I_DROP + C.TEXT_ROOM
        self._table("t2i", torch.arange(length).expand(3, -1))
        start = T.EDIT_DROP + T.PICTURE_TEXT_TOKENS - 1  # first image token
        side = C.VL_SIZE // 28
        before = torch.arange(start).expand(3, -1)
        rows = torch.arange(side).repeat_interleave(side)
        image = torch.stack((torch.zeros_like(rows), rows, torch.arange(side).repeat(side))) + start
        rest = T.EDIT_DROP + C.EDIT_ROOM - start - side * side
        after = (torch.arange(rest) + start + side).expand(3, -1)
        self._table("edit", torch.cat((before, image, after), dim=1))
        self.image_start = start

    def _table(self, name: str, positions: Tensor) -> None:  # [3, S]
        c = self.config
        dim = c["hidden_size"] // c["num_attention_heads"]
        freq = 1.0 / c["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim)
        angle = positions[..., None].float() * freq
        parts = angle.split(c["mrope_section"], dim=-1)
        angle = torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer(f"cos_{name}", angle.cos(), persistent=False)
        self.register_buffer(f"sin_{name}", angle.sin(), persistent=False)

    def forward(self, ids: Tensor, pixels: Tensor | None = None) -> Tensor:
        """ids [B, prefix + room], padded on the right -> hidden states after the dropped prefix."""
        from . import templates as T

        lm = self.model.language_model
        x = lm.embed_tokens(ids)
        if pixels is None:
            cos, sin, drop = self.cos_t2i, self.sin_t2i, T.T2I_DROP
        else:
            cos, sin, drop = self.cos_edit, self.sin_edit, T.EDIT_DROP
            image = self.model.visual(pixels).to(x.dtype)
            s = self.image_start
            x = torch.cat((x[:, :s], image, x[:, s + image.shape[1]:]), dim=1)
        s = x.shape[1]
        for layer in lm.layers:
            x = layer(x, cos[:s], sin[:s])
        return lm.norm(x)[:, drop:]


# ---------------------------------------------------------------- DiT

def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def cudnn_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


ATTENTION = plain_attention


def choose_attention(device: torch.device) -> str:
    """cuDNN's kernel with a key bias takes 0.93 ms where the default takes 1.50 (320 x 304 tokens, H200); use it where
    it compiles and agrees."""
    global ATTENTION
    try:
        q, k, v = (torch.randn(4, 4, 304, 64, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        bias = torch.zeros(4, 304, device=device, dtype=torch.bfloat16)
        bias[:, 20:48] = float("-inf")
        bias = bias[:, None, None].expand(-1, 4, 304, -1)
        grads = []
        for fn in (plain_attention, torch.compile(cudnn_attention, dynamic=False)):
            y = fn(q, k, v, bias)
            grads.append((y, *torch.autograd.grad(y.float().pow(2).sum(), (q, k, v))))
        worst = max(((a - b).float().norm() / a.float().norm()).item() for a, b in zip(*grads))
        if worst < 0.02:
            ATTENTION = cudnn_attention
    except Exception as e:  # an older torch or another card: the default serves
        print("attention: cuDNN refused,", str(e)[:200], flush=True)
    return ATTENTION.__name__


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """[B, S, heads, D] each; bias [B, heads, S, S] (expanded) is 0 or -inf by key."""
    return ATTENTION(*(t.transpose(1, 2) for t in (q, k, v)), bias).transpose(1, 2).flatten(2)


class JointAttention(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
            setattr(self, name, nn.Linear(dim, dim))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.to_add_out = nn.Linear(dim, dim)
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            setattr(self, name, RmsNorm(head_dim))

    def _project(self, x, linears, norm_q, norm_k, cos, sin):
        weight = torch.cat([m.weight for m in linears])
        bias = torch.cat([m.bias for m in linears])
        q, k, v = F.linear(x, weight, bias).unflatten(-1, (3, self.heads, self.head_dim)).unbind(2)
        return rotate_pairs(norm_q(q), cos, sin), rotate_pairs(norm_k(k), cos, sin), v

    def forward(self, x: Tensor, y: Tensor, rope: tuple, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        cos_x, sin_x, cos_y, sin_y = rope
        qx, kx, vx = self._project(x, (self.to_q, self.to_k, self.to_v), self.norm_q, self.norm_k, cos_x, sin_x)
        qy, ky, vy = self._project(y, (self.add_q_proj, self.add_k_proj, self.add_v_proj), self.norm_added_q,
                                   self.norm_added_k, cos_y, sin_y)
        out = attend(torch.cat((qy, qx), 1), torch.cat((ky, kx), 1), torch.cat((vy, vx), 1), bias)
        n = y.shape[1]
        return self.to_out[0](out[:, n:]), self.to_add_out(out[:, :n])


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        first = nn.Module()
        first.proj = nn.Linear(dim, 4 * dim)
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](F.gelu(self.net[0].proj(x), approximate="tanh"))


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class DitBlock(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.img_mod = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.txt_mod = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.attn = JointAttention(dim, heads, head_dim)
        self.img_mlp = Mlp(dim)
        self.txt_mlp = Mlp(dim)

    def forward(self, x: Tensor, y: Tensor, temb: Tensor, rope: tuple, bias: Tensor | None):
        sx1, cx1, gx1, sx2, cx2, gx2 = self.img_mod(temb).unsqueeze(1).chunk(6, dim=-1)
        sy1, cy1, gy1, sy2, cy2, gy2 = self.txt_mod(temb).unsqueeze(1).chunk(6, dim=-1)
        a, b = self.attn((layer_norm(x) * (1 + cx1) + sx1).to(x.dtype), (layer_norm(y) * (1 + cy1) + sy1).to(y.dtype),
                         rope, bias)
        x = x + gx1 * a
        y = y + gy1 * b
        x = x + gx2 * self.img_mlp((layer_norm(x) * (1 + cx2) + sx2).to(x.dtype))
        y = y + gy2 * self.txt_mlp((layer_norm(y) * (1 + cy2) + sy2).to(y.dtype))
        return x, y


class Dit(nn.Module):
    def __init__(self, num_layers: int, attention_head_dim: int, num_attention_heads: int, joint_attention_dim: int,
                 axes_dims_rope: list[int], in_channels: int = 64, grid: int = C.GRID, **_):
        super().__init__()
        dim = attention_head_dim * num_attention_heads
        self.time_text_embed = nn.Module()
        self.time_text_embed.timestep_embedder = nn.Module()
        self.time_text_embed.timestep_embedder.linear_1 = nn.Linear(256, dim)
        self.time_text_embed.timestep_embedder.linear_2 = nn.Linear(dim, dim)
        self.txt_norm = RmsNorm(joint_attention_dim)
        self.img_in = nn.Linear(in_channels, dim)
        self.txt_in = nn.Linear(joint_attention_dim, dim)
        self.transformer_blocks = nn.ModuleList(
            DitBlock(dim, num_attention_heads, attention_head_dim) for _ in range(num_layers))
        self.norm_out = nn.Module()
        self.norm_out.linear = nn.Linear(dim, 2 * dim)
        self.proj_out = nn.Linear(dim, in_channels)
        self.axes = axes_dims_rope
        for images in (1, 2):
            for key, value in zip(("cx", "sx", "cy", "sy"), self._rope(grid, images)):
                self.register_buffer(f"{key}{images}", value, persistent=False)
        self.register_buffer("freq", torch.exp(-math.log(10000.0) * torch.arange(128).float() / 128), persistent=False)

    def _rope(self, grid: int, images: int):
        half = torch.arange(grid) - (grid - grid // 2)
        pos = torch.stack((
            torch.arange(images).repeat_interleave(grid * grid),
            half.repeat_interleave(grid).repeat(images),
            half.repeat(grid).repeat(images),
        ))
        text = (torch.arange(C.EDIT_ROOM) + grid // 2).expand(3, -1)

        def table(p):
            angle = torch.cat([p[i][:, None].float() * (1.0 / 10000.0 ** (torch.arange(0, d, 2).float() / d))
                               for i, d in enumerate(self.axes)], dim=-1)
            return angle.cos(), angle.sin()

        return *table(pos), *table(text)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor | None, sigma: Tensor, images: int) -> Tensor:
        """x [B, images * grid², 64]; text [B, L, hidden]; mask [B, L] bool; sigma [B] -> velocity [B, grid², 64]."""
        noise_tokens = x.shape[1] // images
        x = self.img_in(x)
        y = self.txt_in(self.txt_norm(text))
        angle = (sigma.float()[:, None] * self.freq) * 1000.0
        emb = torch.cat((angle.cos(), angle.sin()), dim=-1).to(x.dtype)
        te = self.time_text_embed.timestep_embedder
        temb = te.linear_2(F.silu(te.linear_1(emb)))
        n = y.shape[1]
        rope = (getattr(self, f"cx{images}"), getattr(self, f"sx{images}"),
                getattr(self, f"cy{images}")[:n], getattr(self, f"sy{images}")[:n])
        bias = None
        if mask is not None:
            mask = torch.cat((mask, mask.new_ones(x.shape[:2])), dim=1)
            bias = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).masked_fill(~mask, float("-inf"))
            bias = bias[:, None, None].expand(-1, self.transformer_blocks[0].attn.heads, mask.shape[1], -1)
        for block in self.transformer_blocks:
            x, y = block(x, y, temb, rope, bias)
        scale, shift = self.norm_out.linear(F.silu(temb)).unsqueeze(1).chunk(2, dim=-1)
        x = (layer_norm(x[:, :noise_tokens]) * (1 + scale) + shift).to(x.dtype)
        return self.proj_out(x)


def pack(z: Tensor) -> Tensor:
    """[B, 16, h, w] -> [B, h/2 * w/2, 64], channel order c, dy, dx."""
    b, c, h, w = z.shape
    return z.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)


def unpack(x: Tensor, side: int = C.LATENT) -> Tensor:
    b, _, c = x.shape
    return x.view(b, side // 2, side // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c // 4, side, side)


def schedule(steps: int = C.STEPS, tokens: int = C.GRID ** 2) -> Tensor:
    """The reference's shifted schedule with its terminal stretch; steps + 1 values, the last one 0."""
    s = C.SCHEDULER
    slope = (s["max_shift"] - s["base_shift"]) / (s["max_image_seq_len"] - s["base_image_seq_len"])
    mu = s["base_shift"] + slope * (tokens - s["base_image_seq_len"])
    t = torch.linspace(1.0, 1.0 / steps, steps)
    sigma = math.exp(mu) / (math.exp(mu) + 1.0 / t - 1.0)
    sigma = 1 - (1 - sigma) * (1 - s["shift_terminal"]) / (1 - sigma[-1])
    return torch.cat((sigma, torch.zeros(1)))
