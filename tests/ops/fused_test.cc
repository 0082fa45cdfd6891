// A fused operation adds no meaning: the CPU backend's version against the composed default on the same operands.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/composed_ops.h"
#include "ops/program.h"
#include "ops/reference.h"

namespace inkling {
namespace {

TEST(FusedOps, EqualComposedDefaultsInRandomPrograms) {
  CpuOps fused;
  ComposedOps composed;
  for (uint32_t seed = 0; seed < 15; ++seed) {
    const ProgramResult a = run_program(fused, seed, 12), b = run_program(composed, seed, 12);
    for (size_t i = 0; i < a.values.size(); ++i) {
      // Programs multiply values without bound; from overflow on there is nothing to compare.
      const reference::Values want = reference::values(b.values[i]);
      if (!std::ranges::all_of(want, [](double v) { return std::abs(v) < 1e15; })) break;
      const double error = reference::nmse(a.values[i], want);
      EXPECT_LE(error, 1e-7) << "seed " << seed << " call " << i;
    }
  }
}

TEST(FusedOps, JointAttentionOfSeveralSamples) {
  Random r(7);
  CpuOps fused;
  ComposedOps composed;
  const auto stream = [&](int64_t rows) {
    return QKV{r.tensor({rows, 96}), r.tensor({rows, 96}), r.tensor({rows, 96})};
  };
  const QKV text = stream(70), image = stream(230);
  const Segments text_segments{{0, 20, 20, 70}}, image_segments{{0, 100, 220, 230}};
  const auto a = fused.joint_attention(text, text_segments, image, image_segments, 3, 0.2f);
  const auto b = composed.joint_attention(text, text_segments, image, image_segments, 3, 0.2f);
  EXPECT_LE(reference::nmse(a.first, reference::values(b.first)), 1e-12);
  EXPECT_LE(reference::nmse(a.second, reference::values(b.second)), 1e-12);
}

}  // namespace
}  // namespace inkling
