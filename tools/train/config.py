"""Sizes of the shipped family, in one place."""

import json
from pathlib import Path

SIZE = 256  # pixels
LATENT = SIZE // 8
GRID = LATENT // 2  # DiT token grid, 16 x 16
VL_SIZE = 112  # the vision tower sees 112 x 112: 8 x 8 patches, 4 x 4 merged tokens, one attention window
VL_MAX_PIXELS = 12800  # not 112² itself: smart_resize would round 384² down to 84²
VL_TOKENS = (VL_SIZE // 28) ** 2

VAE = dict(
    base_dim=24, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, attn_scales=[],
    temperal_downsample=[False, True, True], dropout=0.0,
)

TEXT = dict(
    hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    rms_norm_eps=1e-6, rope_theta=1e6, mrope_section=[8, 12, 12], max_position_embeddings=4096,
)
VISION = dict(
    depth=4, hidden_size=128, intermediate_size=256, num_heads=4, patch_size=14, spatial_merge_size=2,
    temporal_patch_size=2, window_size=112, fullatt_block_indexes=[1, 3], out_hidden_size=256,
)

DIT = dict(
    patch_size=2, in_channels=64, out_channels=16, num_layers=8, attention_head_dim=64, num_attention_heads=4,
    joint_attention_dim=256, guidance_embeds=False, axes_dims_rope=[16, 24, 24],
)

SCHEDULER = dict(
    num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9,
    base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=0.02, time_shift_type="exponential",
    invert_sigmas=False, stochastic_sampling=False, use_karras_sigmas=False, use_exponential_sigmas=False,
    use_beta_sigmas=False,
)

SCORER = dict(
    projection_dim=128,
    vision=dict(image_size=SIZE, patch_size=16, hidden_size=128, intermediate_size=512, num_hidden_layers=4,
                num_attention_heads=4),
    text=dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
              max_position_embeddings=24),
)

STEPS = 8  # Euler steps of the shipped default

TEXT_ROOM = 48  # token room after the dropped prefix, T2I
EDIT_ROOM = 64  # the same for editing, the 23 picture tokens included


def vocab_size(tokenizer_dir: Path) -> int:
    """Embedding rows: the tokenizer's size rounded up to a multiple of 64."""
    added = json.loads((tokenizer_dir / "added_tokens.json").read_text())
    return (max(added.values()) + 1 + 63) // 64 * 64
