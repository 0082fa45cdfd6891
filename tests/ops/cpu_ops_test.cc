// Every operation of the CPU backend against the plain double-precision reference, over random shapes.
#include "backends/cpu/cpu_ops.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <functional>

#include "ops/random_inputs.h"
#include "ops/reference.h"

namespace inkling {
namespace {

namespace ref = reference;

constexpr float kEps = 1e-6f;

struct Outcome {
  Tensor got;
  ref::Values want;
};

struct OpCase {
  const char* name;
  std::function<Outcome(CpuOps&, Random&)> run;
  bool multiplies_weights = false;  // tolerance of bf16 applies in that precision
};

void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

int64_t odd_channels(Random& r) {
  constexpr int64_t kSizes[] = {1, 3, 7, 16, 24, 33, 64, 80, 130};
  return kSizes[r.integer(0, 8)];
}

// The weight, prepared, and its values as the reference sees them.
Tensor dense(CpuOps& ops, Weight& w) {
  Tensor values = dequantize(w.value).reshape(w.shape);
  ops.prepare(w);
  return values;
}

DType some_type(Random& r) {
  constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_0};
  return kTypes[r.integer(0, 4)];
}

Outcome linear_case(CpuOps& ops, Random& r, bool quantized) {
  const DType type = quantized ? some_type(r) : DType::f32;
  const int64_t in = is_block_quantized(type) ? 32 * r.integer(1, 5) : odd_channels(r);
  const int64_t out = r.coin() ? r.integer(1, 70) : 64 * r.integer(1, 4);
  const Tensor x = r.tensor(Shape{r.integer(1, 90), in});
  Weight w = r.weight(Shape{out, in}, r.coin(), type);
  const Tensor values = dense(ops, w);
  return {ops.linear(x, w), ref::linear(x, values, w.bias)};
}

Outcome attention_case(CpuOps& ops, Random& r, int64_t head_dim, bool causal, int64_t rows) {
  const int64_t kv_heads = r.integer(1, 2), heads = kv_heads * r.integer(1, 3);
  const Tensor q = r.tensor(Shape{rows, heads * head_dim});
  const Tensor k = r.tensor(Shape{rows, kv_heads * head_dim}), v = r.tensor(Shape{rows, kv_heads * head_dim});
  const float scale = 1.f / std::sqrt(static_cast<float>(head_dim));
  const AttentionSpec spec{heads, kv_heads, scale, causal, r.segments(rows, r.integer(1, 4))};
  return {ops.attention(q, k, v, spec),
          ref::attention(ref::values(q), ref::values(k), ref::values(v), spec, q.channels())};
}

Outcome conv_case(CpuOps& ops, Random& r, int64_t in, int64_t out, int64_t kernel, ConvSpec spec, int64_t most = 20) {
  const Tensor x = r.tensor(Shape{r.integer(3, most), r.integer(3, most), in});
  Weight w = r.weight(Shape{out, in, kernel, kernel}, r.coin(), r.coin() ? DType::f32 : DType::bf16);
  const Tensor values = dense(ops, w);
  return {ops.conv2d(x, w, spec), ref::conv2d(x, values, w.bias, spec)};
}

Outcome activation_case(CpuOps& ops, Random& r, Activation f) {
  const Tensor x = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}, 4.f);
  return {ops.activate(x, f), ref::activate(ref::values(x), f)};
}

struct Modulation {
  Tensor x, scale, shift;
  RowGroups groups;
  explicit Modulation(Random& r)
      : x(r.tensor(Shape{r.integer(1, 40), odd_channels(r)})),
        scale(r.tensor(Shape{3, x.channels()})),
        shift(r.tensor(Shape{3, x.channels()})),
        groups(r.groups(x.rows(), r.integer(1, 3), 3)) {}
};

Outcome rope_case(CpuOps& ops, Random& r, Rope::Style style) {
  const int64_t heads = r.integer(1, 3), dim = 2 * r.integer(1, 70), rows = r.integer(1, 20);
  const Tensor x = r.tensor(Shape{rows, heads * dim});
  const Tensor gamma = r.coin() ? r.tensor(Shape{dim}) : Tensor();
  const Rope rope = r.integer(0, 3) > 0 ? r.rope(rows, dim, style) : Rope{};
  return {ops.head_norm_rope(x, gamma, kEps, rope, heads),
          ref::head_norm_rope(ref::values(x), gamma, kEps, rope, heads, rows)};
}

const OpCase kCases[] = {
    {"linear", [](CpuOps& ops, Random& r) { return linear_case(ops, r, false); }, true},
    {"linear_quantized", [](CpuOps& ops, Random& r) { return linear_case(ops, r, true); }, true},
    {"embedding",
     [](CpuOps& ops, Random& r) {
       const DType type = some_type(r);
       Weight w = r.weight(Shape{r.integer(1, 50), 32 * r.integer(1, 3)}, false, type);
       w.embedding = true;
       const Tensor values = dense(ops, w), ids = r.ids(r.integer(1, 30), w.shape[0]);
       ref::Values want;
       for (int32_t id : ids.span<int32_t>())
         for (int64_t c = 0; c < w.shape[1]; ++c) want.push_back(values.data<float>()[id * w.shape[1] + c]);
       return Outcome{ops.embedding(ids, w), want};
     }},
    {"add",
     [](CpuOps& ops, Random& r) {
       const Tensor a = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}), b = r.tensor(a.shape());
       ref::Values want = ref::values(a);
       for (size_t i = 0; i < want.size(); ++i) want[i] += b.span<float>()[i];
       return Outcome{ops.add(a, b), want};
     }},
    {"multiply",
     [](CpuOps& ops, Random& r) {
       const Tensor a = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}), b = r.tensor(a.shape());
       ref::Values want = ref::values(a);
       for (size_t i = 0; i < want.size(); ++i) want[i] *= b.span<float>()[i];
       return Outcome{ops.multiply(a, b), want};
     }},
    {"axpby",
     [](CpuOps& ops, Random& r) {
       const Tensor a = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}), b = r.tensor(a.shape());
       ref::Values want = ref::values(a);
       for (size_t i = 0; i < want.size(); ++i) want[i] = 0.25 * want[i] - 3.0 * b.span<float>()[i];
       return Outcome{ops.axpby(0.25f, a, -3.f, b), want};
     }},
    {"gelu_tanh", [](CpuOps& ops, Random& r) { return activation_case(ops, r, Activation::gelu_tanh); }},
    {"gelu_erf", [](CpuOps& ops, Random& r) { return activation_case(ops, r, Activation::gelu_erf); }},
    {"silu", [](CpuOps& ops, Random& r) { return activation_case(ops, r, Activation::silu); }},
    {"quick_gelu", [](CpuOps& ops, Random& r) { return activation_case(ops, r, Activation::quick_gelu); }},
    {"rms_norm",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}), gamma = r.tensor(Shape{x.channels()});
       return Outcome{ops.rms_norm(x, gamma, kEps), ref::rms_norm(ref::values(x), gamma, kEps)};
     }},
    {"layer_norm",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 9), 1 + odd_channels(r)});
       return Outcome{ops.layer_norm(x, kEps), ref::layer_norm(ref::values(x), x.channels(), kEps)};
     }},
    {"modulate",
     [](CpuOps& ops, Random& r) {
       const Modulation m(r);
       return Outcome{ops.modulate(m.x, m.scale, m.shift, m.groups),
                      ref::modulate(ref::values(m.x), m.scale, m.shift, m.groups)};
     }},
    {"gated_add",
     [](CpuOps& ops, Random& r) {
       const Modulation m(r);
       const Tensor y = r.tensor(m.x.shape());
       return Outcome{ops.gated_add(m.x, y, m.scale, m.groups),
                      ref::gated_add(ref::values(m.x), ref::values(y), m.scale, m.groups)};
     }},
    {"rope_interleaved", [](CpuOps& ops, Random& r) { return rope_case(ops, r, Rope::Style::interleaved); }},
    {"rope_rotate_half", [](CpuOps& ops, Random& r) { return rope_case(ops, r, Rope::Style::rotate_half); }},
    {"attention",
     [](CpuOps& ops, Random& r) { return attention_case(ops, r, r.integer(1, 100), false, r.integer(1, 150)); }},
    {"attention_causal", [](CpuOps& ops, Random& r) { return attention_case(ops, r, 16, true, r.integer(1, 300)); }},
    {"attention_long",
     [](CpuOps& ops, Random& r) { return attention_case(ops, r, 64, r.coin(), r.integer(300, 600)); }},
    {"attention_wide", [](CpuOps& ops, Random& r) { return attention_case(ops, r, 384, false, r.integer(1, 200)); }},
    {"concat_rows",
     [](CpuOps& ops, Random& r) {
       const Tensor a = r.tensor(Shape{r.integer(0, 5), 7}), b = r.tensor(Shape{r.integer(1, 5), 7});
       ref::Values want = ref::values(a);
       for (float v : b.span<float>()) want.push_back(v);
       return Outcome{ops.concat_rows({a, b}), want};
     }},
    {"slice_channels",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 20), 9});
       const int64_t begin = r.integer(0, 8), end = r.integer(begin + 1, 9);
       ref::Values want;
       for (int64_t row = 0; row < x.dim(0); ++row)
         for (int64_t c = begin; c < end; ++c) want.push_back(x.data<float>()[row * 9 + c]);
       return Outcome{ops.slice_channels(x, begin, end), want};
     }},
    {"gather_rows",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 20), 5}), index = r.ids(r.integer(0, 30), x.dim(0));
       ref::Values want;
       for (int32_t i : index.span<int32_t>())
         for (int64_t c = 0; c < 5; ++c) want.push_back(x.data<float>()[i * 5 + c]);
       return Outcome{ops.gather_rows(x, index), want};
     }},
    {"conv3x3", [](CpuOps& ops,
                   Random& r) { return conv_case(ops, r, odd_channels(r), odd_channels(r), 3, ConvSpec::same3x3()); }},
    {"conv3x3_down",
     [](CpuOps& ops, Random& r) {
       return conv_case(ops, r, 8 * r.integer(1, 4), 8 * r.integer(1, 4), 3, {2, 0, 0, 1, 1});
     }},
    // For maps so small oneDNN has another layout of the weights than for all others.
    {"conv3x3_few_pixels", [](CpuOps& ops, Random& r) { return conv_case(ops, r, 96, 96, 3, ConvSpec::same3x3(), 9); }},
    {"conv1x1", [](CpuOps& ops, Random& r) { return conv_case(ops, r, odd_channels(r), odd_channels(r), 1, {}); }},
    {"upsample2x",
     [](CpuOps& ops, Random& r) {
       const int64_t height = r.integer(1, 5), width = r.integer(1, 5), channels = odd_channels(r);
       const Tensor x = r.tensor(Shape{height, width, channels});
       ref::Values want;
       for (int64_t h = 0; h < 2 * height; ++h)
         for (int64_t c = 0; c < 2 * width * channels; ++c)
           want.push_back(x.data<float>()[(h / 2 * width + c / channels / 2) * channels + c % channels]);
       return Outcome{ops.upsample2x(x), want};
     }},
    {"channel_norm",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 5), r.integer(1, 5), odd_channels(r)}),
                    gamma = r.tensor(Shape{x.channels()});
       return Outcome{ops.channel_norm(x, gamma), ref::channel_norm(ref::values(x), gamma)};
     }},
    {"guide",
     [](CpuOps& ops, Random& r) {
       const Tensor p = r.tensor(Shape{r.integer(1, 9), odd_channels(r)}), n = r.tensor(p.shape());
       return Outcome{ops.guide(p, n, 4.f), ref::guide(ref::values(p), ref::values(n), 4, p.channels())};
     }},
    {"linear_act",
     [](CpuOps& ops, Random& r) {
       const auto f = static_cast<Activation>(r.integer(0, 3));
       const Tensor x = r.tensor(Shape{r.integer(1, 40), 32});
       Weight w = r.weight(Shape{r.integer(1, 70), 32}, r.coin(), some_type(r));
       const Tensor values = dense(ops, w);
       return Outcome{ops.linear_act(x, w, f), ref::activate(ref::linear(x, values, w.bias), f)};
     },
     true},
    {"swiglu",
     [](CpuOps& ops, Random& r) {
       const Tensor x = r.tensor(Shape{r.integer(1, 40), 32});
       Weight gate = r.weight(Shape{r.integer(1, 70), 32}, r.coin()), up = r.weight(gate.shape, r.coin(), some_type(r));
       const Tensor g = dense(ops, gate), u = dense(ops, up);
       ref::Values want = ref::activate(ref::linear(x, g, gate.bias), Activation::silu);
       const ref::Values other = ref::linear(x, u, up.bias);
       for (size_t i = 0; i < want.size(); ++i) want[i] *= other[i];
       return Outcome{ops.swiglu(x, gate, up), want};
     },
     true},
};

void compare(const OpCase& c, Precision precision, double tolerance, uint32_t seeds = 12) {
  CpuOps ops(CpuOptions{precision});
  for (uint32_t seed = 0; seed < seeds; ++seed) {
    Random random(seed);
    const Outcome o = c.run(ops, random);
    EXPECT_LE(ref::nmse(o.got, o.want), tolerance) << "seed " << seed << " shape " << o.got.shape().str();
  }
}

// The contract is 1e-7; the backend does far better, and a slip of precision should show.
class CpuOpsF32 : public testing::TestWithParam<OpCase> {};
TEST_P(CpuOpsF32, MatchesReference) { compare(GetParam(), Precision::f32, 1e-11); }
INSTANTIATE_TEST_SUITE_P(, CpuOpsF32, testing::ValuesIn(kCases), [](const auto& info) { return info.param.name; });

std::vector<OpCase> weight_cases() {
  std::vector<OpCase> cases;
  for (const OpCase& c : kCases)
    if (c.multiplies_weights) cases.push_back(c);
  return cases;
}

// The kernels of older processors, on this one. (oneDNN's are chosen once per process: ONEDNN_MAX_CPU_ISA=AVX2.)
class CpuOpsEveryTarget : public testing::TestWithParam<OpCase> {};
TEST_P(CpuOpsEveryTarget, MatchesReference) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    compare(GetParam(), Precision::f32, 1e-11, 4);
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    if (HasFailure()) FAIL() << hwy::TargetName(targets & -targets);
  }
}
INSTANTIATE_TEST_SUITE_P(, CpuOpsEveryTarget, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class CpuOpsBf16 : public testing::TestWithParam<OpCase> {};
TEST_P(CpuOpsBf16, MatchesReference) { compare(GetParam(), Precision::bf16, 5e-4); }
INSTANTIATE_TEST_SUITE_P(, CpuOpsBf16, testing::ValuesIn(weight_cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace inkling
