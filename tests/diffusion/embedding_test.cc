#include "diffusion/embedding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "diffusion/vectors.h"

namespace inkling {
namespace {

// Frequencies 12 and 106 are the only ones where the exponential of the reference's library is not the
// correctly rounded one; the last bit of frequency 12 moves its angle of 422 rad by 3e-5.
TEST(TimestepEmbedding, EqualsDiffusers) {
  for (const auto& v : testing::vectors()["embeddings"]) {
    const float timestep = v["timestep"].get<float>();
    const auto precision = v["bf16"].get<bool>() ? TimestepPrecision::bf16 : TimestepPrecision::f32;
    const Tensor row = timestep_embedding({&timestep, 1}, 256, precision);
    ASSERT_EQ(row.shape(), (Shape{1, 256}));
    for (size_t i = 0; i < 256; ++i) {
      const double tolerance = i % 128 == 12 ? 4e-5 : 2e-7;
      EXPECT_NEAR(row.span<float>()[i], v["values"][i].get<float>(), tolerance) << timestep << " channel " << i;
    }
  }
}

TEST(TimestepEmbedding, GivesThePublishedValues) {
  const float timestep = 1000;
  const Tensor row = timestep_embedding({&timestep, 1});
  const float* e = row.data<float>();
  EXPECT_NEAR(e[0], .562379, 1e-6);
  EXPECT_NEAR(e[128], .826880, 1e-6);
  EXPECT_NEAR(e[1], .789627, 1e-6);
  EXPECT_NEAR(e[64], -.839072, 1e-6);
  EXPECT_NEAR(e[127], .994232, 1e-6);
}

TEST(TimestepEmbedding, HasARowForEachTimestep) {
  const std::vector<float> timesteps = {1000, 500, 0};
  const Tensor all = timestep_embedding(timesteps);
  ASSERT_EQ(all.shape(), (Shape{3, 256}));
  for (size_t i = 0; i < 3; ++i) {
    const Tensor one = timestep_embedding({&timesteps[i], 1});
    EXPECT_TRUE(std::equal(one.span<float>().begin(), one.span<float>().end(), all.data<float>() + 256 * i));
  }
  EXPECT_EQ(all.data<float>()[512], 1.f);
  EXPECT_THROW(timestep_embedding(timesteps, 255), ArgumentError);
}

}  // namespace
}  // namespace inkling
