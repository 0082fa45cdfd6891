// Rotary position tables of the Qwen-Image family, made on the host in the reference's order of float32
// operations (reference/qwen-image.md sections 3, 4 and 5.3).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace inkling {

// cos and sin: host f32 [rows, head_dim / 2].
struct RopeTable {
  Tensor cos, sin;
};
Rope upload_rope(Ops& ops, const RopeTable& table, Rope::Style style);
// The rows of `parts` one after another: a packed batch.
RopeTable concat(std::span<const RopeTable> parts);

// --- DiT --------------------------------------------------------------------------------------------------
// One picture of the DiT's sequence, in tokens (16 pixels a side).
struct PictureShape {
  int64_t frames = 1, height = 0, width = 0;
  int64_t tokens() const { return frames * height * width; }
  bool operator==(const PictureShape&) const = default;
};

struct DitRopeSpec {
  std::array<int64_t, 3> axes{16, 56, 56};  // rotated dims for frame, row and column
  bool layered = false;                     // the last picture is the condition, at frame -1
};
// Rows of all pictures of one sample, in list order.
RopeTable dit_image_rope(std::span<const PictureShape> pictures, const DitRopeSpec& spec);
// Rows of the text that accompanies those pictures.
RopeTable dit_text_rope(std::span<const PictureShape> pictures, int64_t text_tokens, const DitRopeSpec& spec);

// --- text model (M-RoPE) ------------------------------------------------------------------------------------
// Temporal, row and column position of every token.
using PositionRows = std::array<std::vector<int32_t>, 3>;

// A picture inside a prompt: its first token and its merged grid (14-pixel patches / 2).
struct PictureInText {
  int64_t start = 0, height = 0, width = 0;
};
// Positions of one prompt of `tokens` tokens. `pictures` in order of their starts.
PositionRows mrope_positions(int64_t tokens, std::span<const PictureInText> pictures);
void append(PositionRows& rows, const PositionRows& more);
// sections: how many of the head_dim / 2 frequencies follow each axis, in contiguous chunks.
RopeTable mrope(const PositionRows& positions, int64_t head_dim, float theta, const std::array<int64_t, 3>& sections);

// --- vision tower ---------------------------------------------------------------------------------------------
// rows, columns: patch coordinates. Half of the frequencies follow the row, half the column.
RopeTable vision_rope(std::span<const int32_t> rows, std::span<const int32_t> columns, int64_t head_dim,
                      float theta = 1e4f);

}  // namespace inkling
