#include "ops/program.h"

#include <array>
#include <functional>

namespace inkling {

namespace {

// Few sizes, so that primitives are found in the cache and the tests stay short.
constexpr int64_t kRows[] = {1, 2, 17, 64, 95, 120};
constexpr int64_t kD = 64, kF = 96;

class Program {
 public:
  Program(Ops& ops, uint32_t seed, int64_t heads)
      : ops_(ops), random_(seed), heads_(heads), rows_(kRows[random_.integer(0, 5)]) {
    constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_0};
    const auto make = [&](const Shape& shape, bool doubled = false) {
      Weight w = random_.weight(shape, random_.coin(),
                                kTypes[shape.rank() == 4 ? random_.integer(0, 2) : random_.integer(0, 4)]);
      w.name = std::to_string(name_++);
      w.embedding = shape[0] == 11;
      w.doubled_input = doubled;
      w.sensitive = random_.integer(0, 3) == 0;
      ops_.prepare(w);
      return w;
    };
    square_ = {make({kD, kD}), make({kD, kD}), make({kD, kD})};
    wide_ = {make({kF, kD}), make({kF, kD})};
    narrow_ = make({kD, kF});
    table_ = make({11, kD});
    conv_ = {make({kD, kD, 3, 3}), make({24, kD, 3, 3}), make({kD, kD, 1, 1}), make({24, kD, 3, 3}, true)};
    gamma_ = ops_.upload(random_.tensor(Shape{kD}));
    gamma24_ = ops_.upload(random_.tensor(Shape{24}));
    head_gamma_ = ops_.upload(random_.tensor(Shape{kD / heads_}));
    modulation_ = ops_.upload(random_.tensor(Shape{3, kD}));
    x_ = ops_.upload(random_.tensor(Shape{rows_, kD}));
  }

  ProgramResult run(int calls) {
    ProgramResult result;
    for (int i = 0; i < calls; ++i) {
      step(random_.integer(0, 26));
      result.memory.push_back(ops_.memory());
      result.values.push_back(x_);
      if (random_.integer(0, 3) == 0) kept_ = x_;  // a residual that lives on
      if (random_.integer(0, 9) == 0) ops_.reset_peak();
    }
    return result;
  }

 private:
  RowGroups groups() { return random_.groups(rows_, random_.integer(1, 3), 3); }
  Tensor map() { return x_.reshape(Shape{1, rows_, kD}); }
  Tensor residual() { return kept_.defined() ? kept_ : x_; }
  Rope rope(Rope::Style style) {
    const Rope host = random_.rope(rows_, kD / heads_, style);
    return {ops_.upload(host.cos), ops_.upload(host.sin), style};
  }

  void joint() {
    const int64_t samples = random_.integer(1, 3), text_rows = random_.integer(0, rows_);
    const auto part = [&](int64_t b, int64_t e) {
      return QKV{x_.slice_rows(b, e), x_.slice_rows(b, e), x_.slice_rows(b, e)};
    };
    const auto [text, image] =
        ops_.joint_attention(part(0, text_rows), random_.segments(text_rows, samples), part(text_rows, rows_),
                             random_.segments(rows_ - text_rows, samples), heads_, 0.25f);
    x_ = ops_.concat_rows({text, image});
  }

  // A block of two streams: both projections, attention, both ends.
  void block() {
    const int64_t text_rows = rows_ / 3;
    const RowGroups text_groups = RowGroups::single(text_rows), image_groups = RowGroups::single(rows_ - text_rows);
    const Tensor row = modulation_.slice_rows(0, 1);
    const auto stream = [&](int64_t b, int64_t e, const RowGroups& g) {
      const Rope host = random_.rope(e - b, kD / heads_, Style::interleaved);
      return StreamProjection{x_.slice_rows(b, e),
                              row,
                              row,
                              &g,
                              &square_[0],
                              &square_[1],
                              &square_[2],
                              head_gamma_,
                              head_gamma_,
                              {ops_.upload(host.cos), ops_.upload(host.sin), Style::interleaved}};
    };
    const auto end = [&](const Tensor& x, const Tensor& a, const RowGroups& g) {
      return StreamFinish{x, a, row, row, row, row, &g, &square_[0], &wide_[0], &narrow_, Activation::gelu_tanh};
    };
    const auto [t, i] =
        ops_.joint_qkv(stream(0, text_rows, text_groups), stream(text_rows, rows_, image_groups), 1e-6f, heads_);
    const auto a =
        ops_.joint_attention(t, Segments::single(text_rows), i, Segments::single(rows_ - text_rows), heads_, 0.2f);
    const auto y = ops_.joint_finish(end(x_.slice_rows(0, text_rows), a.first, text_groups),
                                     end(x_.slice_rows(text_rows, rows_), a.second, image_groups), 1e-6f);
    x_ = ops_.concat_rows({y.first, y.second});
  }

  void convolution() {
    const Tensor y = ops_.conv2d(map(), conv_[0], ConvSpec::same3x3());
    x_ = ops_.conv2d(ops_.upsample2x(y), conv_[0], {2, 0, 0, 1, 1}).reshape(Shape{rows_, kD});
  }

  void step(int64_t op) {
    const Style style = random_.coin() ? Style::interleaved : Style::rotate_half;
    const Activation f = static_cast<Activation>(random_.integer(0, 3));
    switch (op) {
      case 0: x_ = ops_.linear(x_, square_[random_.integer(0, 2)]); break;
      case 1: x_ = ops_.linear(ops_.linear_act(x_, wide_[0], f), narrow_); break;
      case 2: x_ = ops_.embedding(random_.ids(rows_, 11), table_); break;
      case 3: x_ = ops_.add(x_, residual()); break;
      case 4: x_ = ops_.multiply(x_, residual()); break;
      case 5: x_ = ops_.activate(x_, f); break;
      case 6: x_ = ops_.axpby(0.5f, x_, -0.5f, residual()); break;
      case 7: x_ = ops_.rms_norm(x_, gamma_, 1e-6f); break;
      case 8: x_ = ops_.layer_norm(x_, 1e-6f); break;
      case 9: x_ = ops_.modulate(x_, modulation_, modulation_, groups()); break;
      case 10: x_ = ops_.gated_add(residual(), x_, modulation_, groups()); break;
      case 11: x_ = ops_.head_norm_rope(x_, head_gamma_, 1e-6f, rope(style), heads_); break;
      case 12: {
        const AttentionSpec spec{heads_, heads_, 0.25f, random_.coin(), random_.segments(rows_, random_.integer(1, 4))};
        x_ = ops_.attention(x_, residual().dtype() == x_.dtype() ? residual() : x_, x_, spec);
        break;
      }
      case 13:
        ops_.concat_rows({ops_.slice_channels(x_, 0, 5), ops_.slice_channels(x_, 3, 8)});
        x_ = ops_.upload(random_.tensor(Shape{rows_, kD}));
        break;
      case 14: x_ = ops_.gather_rows(x_, random_.ids(rows_, rows_)); break;
      case 15: convolution(); break;
      case 16: x_ = ops_.conv2d(map(), conv_[2], {}).reshape(Shape{rows_, kD}); break;
      case 17: x_ = ops_.channel_norm(x_, gamma_); break;
      case 18:  // of velocities, which are f32 in every backend
        if (x_.dtype() == DType::f32 && residual().dtype() == DType::f32) x_ = ops_.guide(x_, residual(), 4.f);
        break;
      case 19: x_ = ops_.linear_add(x_, square_[0], residual()); break;
      case 20: x_ = ops_.linear_gated_add(x_, square_[1], residual(), modulation_, groups()); break;
      case 21: x_ = ops_.linear(ops_.swiglu(x_, wide_[0], wide_[1]), narrow_); break;
      case 22: x_ = ops_.modulated_norm(x_, modulation_, modulation_, groups(), 1e-6f); break;
      case 23: {
        const QKV qkv = ops_.qkv(x_, square_[0], square_[1], square_[2], head_gamma_, head_gamma_, 1e-6f, rope(style),
                                 heads_, heads_);
        x_ = ops_.add(qkv.q, ops_.add(qkv.k, qkv.v));
        break;
      }
      case 24:
        joint();
        x_ = ops_.channel_norm_silu(x_, gamma_);
        ops_.channel_norm_silu(ops_.conv2d(map(), conv_[1], ConvSpec::same3x3()), gamma24_);
        break;
      case 25: block(); break;
      case 26: {
        ops_.upsample_conv2d(map(), conv_[3], ConvSpec::same3x3());
        const Tensor y = ops_.conv2d(map(), conv_[0], ConvSpec::same3x3());
        x_ = ops_.conv2d_add(y, conv_[0], ConvSpec::same3x3(), y).reshape(Shape{rows_, kD});
        break;
      }
    }
  }

  using Style = Rope::Style;
  Ops& ops_;
  Random random_;
  int64_t heads_, rows_;
  int name_ = 0;
  std::array<Weight, 3> square_;
  std::array<Weight, 2> wide_;
  std::array<Weight, 4> conv_;
  Weight narrow_, table_;
  Tensor gamma_, gamma24_, head_gamma_, modulation_, x_, kept_;
};

}  // namespace

ProgramResult run_program(Ops& ops, uint32_t seed, int calls, int64_t heads) {
  return Program(ops, seed, heads).run(calls);
}

}  // namespace inkling
