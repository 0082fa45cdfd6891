#include "models/qwen_image/tiling.h"

#include <algorithm>

#include "base/error.h"

namespace inkling {

namespace {

// Columns [begin, end) of a feature map [H, W, C].
Tensor crop_columns(Ops& ops, const Tensor& x, int64_t begin, int64_t end) {
  const int64_t height = x.dim(0), width = x.dim(1), channels = x.dim(2), n = end - begin;
  if (n == width) return x;
  Tensor index = host_tensor(Shape{height * n}, DType::i32);
  for (int64_t i = 0; i < height * n; ++i)
    index.data<int32_t>()[i] = static_cast<int32_t>(i / n * width + begin + i % n);
  return ops.gather_rows(x.reshape({height * width, channels}), index).reshape({height, n, channels});
}

// Side by side: every part [H, W_i, C].
Tensor concat_columns(Ops& ops, const std::vector<Tensor>& parts) {
  if (parts.size() == 1) return parts[0];
  const int64_t height = parts[0].dim(0), channels = parts[0].dim(2);
  int64_t width = 0, offset = 0;
  std::vector<Tensor> rows;
  for (const Tensor& p : parts) {
    width += p.dim(1);
    rows.push_back(p.reshape({p.dim(0) * p.dim(1), channels}));
  }
  Tensor index = host_tensor(Shape{height * width}, DType::i32);
  int64_t column = 0;
  for (const Tensor& p : parts) {
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < p.dim(1); ++x)
        index.data<int32_t>()[y * width + column + x] = static_cast<int32_t>(offset + y * p.dim(1) + x);
    column += p.dim(1);
    offset += height * p.dim(1);
  }
  return ops.gather_rows(ops.concat_rows(rows), index).reshape({height, width, channels});
}

// neighbour + w * (own - neighbour), both [pixels, C]; group i of `groups` has weight i / n.
Tensor mix(Ops& ops, const Tensor& neighbour, const Tensor& own, int64_t n, const RowGroups& groups) {
  const int64_t channels = own.channels();
  Tensor weights = host_tensor(Shape{n, channels});
  for (int64_t row = 0; row < n; ++row)
    std::fill_n(weights.data<float>() + row * channels, channels, static_cast<float>(row) / static_cast<float>(n));
  const Tensor difference = ops.axpby(1.f, own, -1.f, neighbour);
  return ops.gated_add(neighbour, difference, ops.upload(weights), groups);
}

// The first rows of `own` fade in from the last rows of the tile above.
Tensor blend_top(Ops& ops, const Tensor& above, const Tensor& own, int64_t extent) {
  const int64_t n = std::min({above.dim(0), own.dim(0), extent}), width = own.dim(1), channels = own.dim(2);
  if (n <= 0) return own;
  RowGroups groups;
  for (int64_t y = 0; y < n; ++y) {
    groups.segments.add(width);
    groups.table_row.push_back(y);
  }
  const Shape flat{n * width, channels};
  const Tensor strip = mix(ops, above.slice_rows(above.dim(0) - n, above.dim(0)).reshape(flat),
                           own.slice_rows(0, n).reshape(flat), n, groups);
  if (n == own.dim(0)) return strip.reshape(own.shape());
  const Tensor rest = own.slice_rows(n, own.dim(0)).reshape({(own.dim(0) - n) * width, channels});
  return ops.concat_rows({strip, rest}).reshape(own.shape());
}

// The first columns of `own` fade in from the last columns of the tile to the left.
Tensor blend_left(Ops& ops, const Tensor& left, const Tensor& own, int64_t extent) {
  const int64_t n = std::min({left.dim(1), own.dim(1), extent}), height = own.dim(0), channels = own.dim(2);
  if (n <= 0) return own;
  RowGroups groups;
  for (int64_t i = 0; i < height * n; ++i) {
    groups.segments.add(1);
    groups.table_row.push_back(i % n);
  }
  const Shape flat{height * n, channels};
  const Tensor strip = mix(ops, crop_columns(ops, left, left.dim(1) - n, left.dim(1)).reshape(flat),
                           crop_columns(ops, own, 0, n).reshape(flat), n, groups)
                           .reshape({height, n, channels});
  if (n == own.dim(1)) return strip;
  return concat_columns(ops, {strip, crop_columns(ops, own, n, own.dim(1))});
}

}  // namespace

Tensor run_tiled(Ops& ops, const Tensor& x, const Tiling& in, const Tiling& out,
                 const std::function<Tensor(const Tensor&)>& run) {
  if (in.tile <= 0 || in.stride <= 0 || out.stride <= 0)
    throw RuntimeError("tiling: tile {} and stride {} must be positive", in.tile, in.stride);
  const int64_t height = x.dim(0), width = x.dim(1), overlap = out.tile - out.stride;
  std::vector<Tensor> strips, above;  // finished rows; the blended tiles of the row above
  for (int64_t y = 0; y < height; y += in.stride) {
    const Tensor band = x.slice_rows(y, std::min(y + in.tile, height));
    std::vector<Tensor> row, cropped;
    for (int64_t left = 0; left < width; left += in.stride) {
      Tensor tile = run(crop_columns(ops, band, left, std::min(left + in.tile, width)));
      if (!above.empty()) tile = blend_top(ops, above[row.size()], tile, overlap);
      if (!row.empty()) tile = blend_left(ops, row.back(), tile, overlap);
      const Tensor kept = tile.slice_rows(0, std::min(out.stride, tile.dim(0)));
      cropped.push_back(crop_columns(ops, kept, 0, std::min(out.stride, kept.dim(1))));
      row.push_back(std::move(tile));
    }
    Tensor strip = concat_columns(ops, cropped);
    strips.push_back(strip.reshape({strip.dim(0) * strip.dim(1), strip.dim(2)}));
    above = std::move(row);
  }
  const int64_t columns = width * out.stride / in.stride, channels = strips[0].dim(1);
  const Tensor all = strips.size() == 1 ? strips[0] : ops.concat_rows(strips);
  return all.reshape({all.dim(0) / columns, columns, channels});
}

}  // namespace inkling
