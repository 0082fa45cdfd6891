#include "models/rope.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/threads.h"

namespace inkling {

namespace {

// theta^(-2k/dims) for k < dims / 2, in float32 as torch evaluates 1 / pow(theta, arange(0, dims, 2) / dims).
std::vector<float> frequencies(int64_t dims, float theta) {
  std::vector<float> f(dims / 2);
  for (size_t k = 0; k < f.size(); ++k) {
    const float exponent = static_cast<float>(2 * k) / static_cast<float>(dims);
    f[k] = 1.f / static_cast<float>(std::pow(static_cast<double>(theta), static_cast<double>(exponent)));
  }
  return f;
}

RopeTable blank(int64_t rows, int64_t columns) {
  return {host_tensor(Shape{rows, columns}), host_tensor(Shape{rows, columns})};
}

// Writes one row; the float32 product is the angle, its cosine and sine are rounded once.
void write_row(RopeTable& table, int64_t row, int64_t column, float position, std::span<const float> f) {
  const int64_t width = table.cos.channels();
  float* cos = table.cos.data<float>() + row * width + column;
  float* sin = table.sin.data<float>() + row * width + column;
  for (size_t k = 0; k < f.size(); ++k) {
    const double angle = position * f[k];
    cos[k] = static_cast<float>(std::cos(angle));
    sin[k] = static_cast<float>(std::sin(angle));
  }
}

struct DitFrequencies {
  std::array<std::vector<float>, 3> axis;
  int64_t width = 0;
  explicit DitFrequencies(const DitRopeSpec& spec) {
    for (int a = 0; a < 3; ++a) {
      axis[a] = frequencies(spec.axes[a], 1e4f);
      width += spec.axes[a] / 2;
    }
  }
  void write(RopeTable& table, int64_t row, int64_t frame, int64_t y, int64_t x) const {
    int64_t column = 0;
    const std::array<int64_t, 3> position{frame, y, x};
    for (int a = 0; a < 3; ++a) {
      write_row(table, row, column, static_cast<float>(position[a]), axis[a]);
      column += static_cast<int64_t>(axis[a].size());
    }
  }
};

// Rows and columns count from the middle: h = 3 gives -2, -1, 0.
int64_t centred(int64_t index, int64_t size) { return index - (size - size / 2); }

}  // namespace

Rope upload_rope(Ops& ops, const RopeTable& table, Rope::Style style) {
  return {ops.upload(table.cos), ops.upload(table.sin), style};
}

RopeTable concat(std::span<const RopeTable> parts) {
  if (parts.size() == 1) return parts[0];
  int64_t rows = 0;
  for (const RopeTable& p : parts) rows += p.cos.rows();
  RopeTable all = blank(rows, parts.empty() ? 0 : parts[0].cos.channels());
  int64_t at = 0;
  for (const RopeTable& p : parts) {
    std::ranges::copy(p.cos.span<float>(), all.cos.data<float>() + at);
    std::ranges::copy(p.sin.span<float>(), all.sin.data<float>() + at);
    at += p.cos.elements();
  }
  return all;
}

RopeTable dit_image_rope(std::span<const PictureShape> pictures, const DitRopeSpec& spec) {
  const DitFrequencies f(spec);
  int64_t rows = 0;
  for (const PictureShape& p : pictures) rows += p.tokens();
  RopeTable table = blank(rows, f.width);
  int64_t begin = 0;
  for (size_t j = 0; j < pictures.size(); ++j) {
    const PictureShape& p = pictures[j];
    const bool condition = spec.layered && j + 1 == pictures.size();
    const int64_t first_frame = condition ? -1 : static_cast<int64_t>(j);
    parallel_for(p.tokens(), 256, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        f.write(table, begin + i, first_frame + i / (p.height * p.width), centred(i / p.width % p.height, p.height),
                centred(i % p.width, p.width));
    });
    begin += p.tokens();
  }
  return table;
}

RopeTable dit_text_rope(std::span<const PictureShape> pictures, int64_t text_tokens, const DitRopeSpec& spec) {
  const DitFrequencies f(spec);
  int64_t start = spec.layered ? static_cast<int64_t>(pictures.size()) - 1 : 0;
  for (const PictureShape& p : pictures) start = std::max({start, p.height / 2, p.width / 2});
  RopeTable table = blank(text_tokens, f.width);
  for (int64_t i = 0; i < text_tokens; ++i) f.write(table, i, start + i, start + i, start + i);
  return table;
}

PositionRows mrope_positions(int64_t tokens, std::span<const PictureInText> pictures) {
  PositionRows rows;
  int32_t next = 0;
  const auto text_until = [&](int64_t end) {
    for (auto i = static_cast<int64_t>(rows[0].size()); i < end; ++i, ++next)
      for (auto& row : rows) row.push_back(next);
  };
  for (const PictureInText& p : pictures) {
    const int64_t end = p.start + p.height * p.width;
    if (p.start < static_cast<int64_t>(rows[0].size()) || end > tokens)
      throw RuntimeError("mrope_positions: picture tokens [{}, {}) do not fit a prompt of {} after {}", p.start, end,
                         tokens, rows[0].size());
    text_until(p.start);
    for (int64_t y = 0; y < p.height; ++y)
      for (int64_t x = 0; x < p.width; ++x) {
        rows[0].push_back(next);
        rows[1].push_back(next + static_cast<int32_t>(y));
        rows[2].push_back(next + static_cast<int32_t>(x));
      }
    next += static_cast<int32_t>(std::max(p.height, p.width));
  }
  text_until(tokens);
  return rows;
}

void append(PositionRows& rows, const PositionRows& more) {
  for (int a = 0; a < 3; ++a) rows[a].insert(rows[a].end(), more[a].begin(), more[a].end());
}

RopeTable mrope(const PositionRows& positions, int64_t head_dim, float theta, const std::array<int64_t, 3>& sections) {
  const std::vector<float> f = frequencies(head_dim, theta);
  if (sections[0] + sections[1] + sections[2] != head_dim / 2)
    throw RuntimeError("mrope: sections {} + {} + {} do not add up to head_dim / 2 = {}", sections[0], sections[1],
                       sections[2], head_dim / 2);
  const auto rows = static_cast<int64_t>(positions[0].size());
  RopeTable table = blank(rows, head_dim / 2);
  for (int64_t i = 0; i < rows; ++i) {
    int64_t column = 0;
    for (int a = 0; a < 3; ++a) {
      write_row(table, i, column, static_cast<float>(positions[a][i]), std::span(f).subspan(column, sections[a]));
      column += sections[a];
    }
  }
  return table;
}

RopeTable vision_rope(std::span<const int32_t> rows, std::span<const int32_t> columns, int64_t head_dim, float theta) {
  const std::vector<float> f = frequencies(head_dim / 2, theta);
  RopeTable table = blank(static_cast<int64_t>(rows.size()), head_dim / 2);
  for (size_t i = 0; i < rows.size(); ++i) {
    write_row(table, i, 0, static_cast<float>(rows[i]), f);
    write_row(table, i, head_dim / 4, static_cast<float>(columns[i]), f);
  }
  return table;
}

}  // namespace inkling
