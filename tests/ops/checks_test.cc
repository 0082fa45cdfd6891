// Bad operands give an error that names the operation, what it got and what it expected.
#include <gtest/gtest.h>

#include <functional>

#include "backends/cpu/cpu_ops.h"
#include "backends/plan/plan_ops.h"
#include "base/error.h"
#include "ops/random_inputs.h"

namespace inkling {
namespace {

struct BadCall {
  const char* name;
  std::function<void(Ops&)> run;
  const char* message;
};

Tensor zeros(const Shape& shape, DType type = DType::f32) { return host_tensor(shape, type); }

Weight prepared_weight(Ops& ops, const Shape& shape) {
  Random r(1);
  Weight w = r.weight(shape, false);
  w.name = "blocks.0.proj";
  ops.prepare(w);
  return w;
}

Rope bad_rope() { return {zeros({3, 4}), zeros({3, 4}), Rope::Style::interleaved}; }

const RowGroups kThree = RowGroups::single(3);

const BadCall kBadCalls[] = {
    {"linear",
     [](Ops& o) {
       o.linear(zeros({2, 5}), prepared_weight(o, {4, 6}));
     },
     "linear: got x [2, 5], expected 6 channels for weight 'blocks.0.proj' [4, 6]"},
    {"linear_rank",
     [](Ops& o) {
       o.linear(zeros({2, 5}), prepared_weight(o, {4, 5, 1, 1}));
     },
     "linear: got weight 'blocks.0.proj' [4, 5, 1, 1], expected [out, in]"},
    {"linear_act",
     [](Ops& o) {
       o.linear_act(zeros({2, 5}), prepared_weight(o, {4, 6}), Activation::silu);
     },
     "linear_act: got x [2, 5], expected 6 channels for weight 'blocks.0.proj' [4, 6]"},
    {"linear_add",
     [](Ops& o) {
       o.linear_add(zeros({2, 6}), prepared_weight(o, {4, 6}), zeros({3, 4}));
     },
     "linear_add: got residual [3, 4], expected [2, 4]"},
    {"swiglu",
     [](Ops& o) {
       o.swiglu(zeros({2, 6}), prepared_weight(o, {4, 6}), prepared_weight(o, {5, 6}));
     },
     "swiglu: got gate 'blocks.0.proj' [4, 6] and up 'blocks.0.proj' [5, 6], expected equal shapes"},
    {"embedding_type",
     [](Ops& o) {
       o.embedding(zeros({2}), prepared_weight(o, {4, 6}));
     },
     "embedding: got indices of type f32, expected i32"},
    {"embedding_id",
     [](Ops& o) {
       o.embedding(host_tensor<int32_t>(Shape{2}, std::vector<int32_t>{0, 4}), prepared_weight(o, {4, 6}));
     },
     "embedding: got index 4, expected 0 to 3"},
    {"add",
     [](Ops& o) {
       o.add(zeros({2, 3}), zeros({3, 2}));
     },
     "add: got [2, 3] and [3, 2], expected equal shapes"},
    {"undefined",
     [](Ops& o) {
       o.add(zeros({2, 3}), Tensor());
     },
     "add: got no second operand, expected a tensor"},
    {"rms_norm",
     [](Ops& o) {
       o.rms_norm(zeros({2, 3}), zeros({4}), 1e-6f);
     },
     "rms_norm: got gamma f32 [4], expected f32 [3]"},
    {"modulate_table",
     [](Ops& o) {
       o.modulate(zeros({3, 4}), zeros({1, 4}), zeros({1, 5}), kThree);
     },
     "modulate: got table [1, 5], expected [groups, 4]"},
    {"modulate_rows",
     [](Ops& o) {
       o.modulate(zeros({2, 4}), zeros({1, 4}), zeros({1, 4}), kThree);
     },
     "modulate: got segments of 3 rows, expected 2 rows"},
    {"gated_add_group",
     [](Ops& o) {
       o.gated_add(zeros({3, 4}), zeros({3, 4}), zeros({1, 4}), {Segments::single(3), {1}});
     },
     "gated_add: got table row 1, expected one of 1"},
    {"gated_add_groups",
     [](Ops& o) {
       o.gated_add(zeros({3, 4}), zeros({3, 4}), zeros({1, 4}), {Segments::single(3), {}});
     },
     "gated_add: got 0 table rows, expected 1"},
    {"rope",
     [](Ops& o) {
       o.head_norm_rope(zeros({2, 16}), Tensor(), 1e-6f, bad_rope(), 2);
     },
     "head_norm_rope: got rope table f32 [3, 4], expected f32 [2, 4]"},
    {"heads",
     [](Ops& o) {
       o.head_norm_rope(zeros({2, 16}), Tensor(), 1e-6f, {}, 3);
     },
     "head_norm_rope: got 3 heads, expected a divisor of 16 channels"},
    {"attention_heads",
     [](Ops& o) {
       o.attention(zeros({2, 6}), zeros({2, 4}), zeros({2, 4}), {3, 2, 1.f, false, Segments::single(2)});
     },
     "attention: got 3 heads and 2 kv heads, expected a multiple"},
    {"attention_k",
     [](Ops& o) {
       o.attention(zeros({2, 8}), zeros({2, 3}), zeros({2, 3}), {4, 2, 1.f, false, Segments::single(2)});
     },
     "attention: got k [2, 3], expected [2, 4]"},
    {"segments",
     [](Ops& o) {
       o.attention(zeros({4, 8}), zeros({4, 8}), zeros({4, 8}), {2, 2, 1.f, false, Segments{{0, 3, 2, 4}}});
     },
     "attention: got segment offsets that fall or do not start at 0, expected borders of rows"},
    {"joint_attention",
     [](Ops& o) {
       const QKV s{zeros({4, 8}), zeros({4, 8}), zeros({4, 8})};
       o.joint_attention(s, Segments::single(4), s, Segments{{0, 2, 4}}, 2, 1.f);
     },
     "joint_attention: got 1 text and 2 image segments, expected as many"},
    {"concat_rows",
     [](Ops& o) {
       o.concat_rows({zeros({2, 3}), zeros({2, 4})});
     },
     "concat_rows: got f32 [2, 4], expected f32 [rows, 3]"},
    {"concat_nothing", [](Ops& o) { o.concat_rows({}); }, "concat_rows: got no parts, expected at least one"},
    {"slice_channels",
     [](Ops& o) {
       o.slice_channels(zeros({2, 3}), 1, 4);
     },
     "slice_channels: got [1, 4), expected a range within 3 channels"},
    {"conv2d",
     [](Ops& o) {
       o.conv2d(zeros({8, 8, 3}), prepared_weight(o, {4, 5, 3, 3}), ConvSpec::same3x3());
     },
     "conv2d: got weight 'blocks.0.proj' [4, 5, 3, 3], expected [out, 3, kh, kw]"},
    {"conv2d_small",
     [](Ops& o) {
       o.conv2d(zeros({2, 8, 5}), prepared_weight(o, {4, 5, 3, 3}), {});
     },
     "conv2d: got x [2, 8, 5], expected at least the kernel of 'blocks.0.proj' [4, 5, 3, 3]"},
    {"upsample2x",
     [](Ops& o) {
       o.upsample2x(zeros({2, 3}));
     },
     "upsample2x: got x [2, 3], expected [H, W, C]"},
};

void PrintTo(const BadCall& c, std::ostream* out) { *out << c.name; }

class OperandChecks : public testing::TestWithParam<BadCall> {
 protected:
  static std::string error_of(Ops& ops) {
    try {
      GetParam().run(ops);
    } catch (const RuntimeError& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_P(OperandChecks, Cpu) {
  CpuOps ops;
  EXPECT_EQ(error_of(ops), GetParam().message);
}

TEST_P(OperandChecks, Plan) {
  const CpuModel model;
  PlanOps ops(model);
  EXPECT_EQ(error_of(ops), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(, OperandChecks, testing::ValuesIn(kBadCalls),
                         [](const auto& info) { return info.param.name; });

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(CpuOpsChecks, RefuseWhatTheyCannotRead) {
  CpuOps ops;
  Random r(1);
  Weight raw = r.weight({4, 6}, false);
  EXPECT_EQ(message_of([&] {
              ops.linear(zeros({2, 6}), raw);
            }),
            "linear: got weight 'test' as loaded, expected one prepared for the CPU");
  EXPECT_EQ(message_of([&] {
              ops.add(zeros({2, 3}, DType::u8), zeros({2, 3}, DType::u8));
            }),
            "add: got u8 [2, 3], expected f32");
  Weight no_bias = r.weight({4, 6}, true);
  no_bias.bias = Tensor();
  EXPECT_EQ(message_of([&] { ops.prepare(no_bias); }), "prepare: got no f32 bias of weight 'test', expected 4 values");
  Weight integers = r.weight({4, 6}, false);
  integers.value = zeros({4, 6}, DType::i8);
  EXPECT_EQ(message_of([&] { ops.prepare(integers); }),
            "prepare: got weight 'test' stored as i8, expected a type that can be dequantized");
  Weight missing = r.weight({4, 6}, false);
  missing.value = Tensor();
  EXPECT_EQ(message_of([&] { ops.prepare(missing); }),
            "prepare: got weight 'test' without a value, expected a loaded one");
}

}  // namespace
}  // namespace inkling
