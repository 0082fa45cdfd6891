// Position tables and timestep features against the reference's own functions.
#include "models/rope.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "models/qwen_image/modulation.h"
#include "support/goldens.h"

namespace inkling::testing {
namespace {

class Functions : public ::testing::Test {
 protected:
  std::unique_ptr<TensorFile> file_;

  void SetUp() override {
    const auto path = golden_root() / "vectors" / "functions.safetensors";
    if (golden_root().empty() || !std::filesystem::exists(path)) GTEST_SKIP() << "no reference vectors";
    file_ = open_tensor_file(path);
  }
  Tensor load(const std::string& name) { return to_f32(file_->load(*file_->find(name))); }
  void expect_near(const Tensor& got, const std::string& name, float tolerance) {
    const Tensor expected = load(name);
    ASSERT_EQ(got.shape(), expected.shape()) << name;
    EXPECT_LE(relative_error(got, expected), tolerance) << name;
  }
};

TEST_F(Functions, DitPositions) {
  for (const std::string name : {"odd", "references", "layered", "layered_many"}) {
    const std::string prefix = "rope." + name + ".";
    const Tensor shapes = load(prefix + "shapes");
    std::vector<PictureShape> pictures;
    for (int64_t i = 0; i < shapes.dim(0); ++i) {
      const float* s = shapes.data<float>() + 3 * i;
      pictures.push_back({static_cast<int64_t>(s[0]), static_cast<int64_t>(s[1]), static_cast<int64_t>(s[2])});
    }
    const DitRopeSpec spec{{16, 56, 56}, name.starts_with("layered")};
    const RopeTable image = dit_image_rope(pictures, spec);
    const RopeTable text = dit_text_rope(pictures, load(prefix + "text_cos").dim(0), spec);
    expect_near(image.cos, prefix + "image_cos", 2e-7f);
    expect_near(image.sin, prefix + "image_sin", 2e-7f);
    expect_near(text.cos, prefix + "text_cos", 2e-7f);
    expect_near(text.sin, prefix + "text_sin", 2e-7f);
  }
}

// Two of the reference's 128 frequencies are one unit in the last place off, which 1000 radians magnify.
TEST_F(Functions, TimestepFeatures) {
  const Tensor t = load("timestep.t");
  expect_near(timestep_features(t.span<float>()), "timestep.embedding", 4e-5f);
}

TEST(Mrope, GivesPicturesRowsAndColumns) {
  const PictureInText pictures[] = {{2, 2, 3}, {9, 1, 1}};
  const PositionRows rows = mrope_positions(11, pictures);
  EXPECT_EQ(rows[0], (std::vector<int32_t>{0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7}));
  EXPECT_EQ(rows[1], (std::vector<int32_t>{0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7}));
  EXPECT_EQ(rows[2], (std::vector<int32_t>{0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7}));
  // The specification's example: one 392 x 392 picture after 70 tokens.
  const PictureInText one{70, 14, 14};
  const PositionRows long_rows = mrope_positions(300, std::span(&one, 1));
  EXPECT_EQ(long_rows[1][70 + 195], 83);
  EXPECT_EQ(long_rows[0][70 + 196], 84);
  EXPECT_THROW(mrope_positions(5, pictures), RuntimeError);
}

}  // namespace
}  // namespace inkling::testing
