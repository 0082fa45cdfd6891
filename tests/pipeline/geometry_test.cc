#include "pipeline/geometry.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace inkling {

void PrintTo(const PictureSize& size, std::ostream* out) { *out << size.width << "x" << size.height; }

namespace {

TEST(Geometry, GivesTheReferencesSizesForEditing) {
  struct Case {
    PictureSize picture, resized, vision;
    int64_t vision_tokens;
    PictureSize vae;
    int64_t image_tokens;
  };
  for (const Case& c : {Case{{1024, 1024}, {384, 384}, {392, 392}, 196, {1024, 1024}, 4096},
                        Case{{1920, 1080}, {512, 288}, {504, 280}, 180, {1376, 768}, 4128},
                        Case{{4000, 3000}, {448, 320}, {448, 308}, 176, {1184, 896}, 4144}}) {
    const ReferenceSizes sizes = reference_sizes(c.picture, EditRules::plus);
    EXPECT_EQ(sizes.resized, c.resized);
    EXPECT_EQ(sizes.vision, c.vision);
    EXPECT_EQ(sizes.vision_tokens(), c.vision_tokens);
    EXPECT_EQ(sizes.vae, c.vae);
    EXPECT_EQ(sizes.image_tokens(), c.image_tokens);
    EXPECT_EQ(default_edit_size(c.picture), c.vae);
  }
}

TEST(Geometry, ShowsTheFirstEditModelOneMegapixel) {
  const ReferenceSizes sizes = reference_sizes({500, 500}, EditRules::first);
  EXPECT_EQ(sizes.resized, (PictureSize{1024, 1024}));
  EXPECT_EQ(sizes.vae, sizes.resized);
  EXPECT_EQ(sizes.vision, (PictureSize{1036, 1036}));
  EXPECT_EQ(sizes.vision_tokens(), 1369);
}

TEST(Geometry, ShrinksReferencesOnRequest) {
  const ReferenceSizes sizes = reference_sizes({1024, 1024}, EditRules::plus, 512 * 512);
  EXPECT_EQ(sizes.vae, (PictureSize{512, 512}));
  EXPECT_EQ(sizes.vision, (PictureSize{392, 392}));
}

TEST(Geometry, RoundsHalvesToEven) {
  EXPECT_EQ(smart_resize({70, 98}), (PictureSize{56, 112}));  // 2.5 -> 2, 3.5 -> 4
  EXPECT_EQ(size_of_area(80 * 80, 1), (PictureSize{64, 64}));
  EXPECT_EQ(size_of_area(112 * 112, 1), (PictureSize{128, 128}));
}

TEST(Geometry, FloorsOutputsToTokens) {
  EXPECT_EQ(floor_to_tokens({1328, 1328}), (PictureSize{1328, 1328}));
  EXPECT_EQ(floor_to_tokens({1000, 527}), (PictureSize{992, 512}));
  EXPECT_EQ(floor_to_tokens({16, 31}), (PictureSize{16, 16}));
  EXPECT_THROW(floor_to_tokens({15, 512}), ArgumentError);
  EXPECT_THROW(floor_to_tokens({512, -16}), ArgumentError);
}

// Values of the image processor of transformers.
TEST(SmartResize, KeepsToItsLimits) {
  EXPECT_EQ(smart_resize({1, 1}), (PictureSize{56, 56}));
  EXPECT_EQ(smart_resize({10, 1000}), (PictureSize{28, 560}));
  EXPECT_EQ(smart_resize({3, 500}), (PictureSize{28, 728}));
  EXPECT_EQ(smart_resize({10000, 8000}), (PictureSize{4004, 3192}));
  EXPECT_EQ(smart_resize({1036, 1036}, {28, 3136, 1'003'520}), (PictureSize{980, 980}));
}

TEST(SmartResize, GivesMultiplesWithinTheRangeForEverySize) {
  const VisionLimits limits;
  for (int64_t width = 1; width < 6000; width = width * 5 / 4 + 1) {
    for (int64_t height = std::max<int64_t>(1, width / 200 + 1); height < 6000 && height <= 200 * width;
         height = height * 5 / 4 + 1) {
      const PictureSize size = smart_resize({width, height}, limits);
      ASSERT_TRUE(size.width >= 28 && size.height >= 28 && size.width % 28 == 0 && size.height % 28 == 0);
      ASSERT_LE(size.pixels(), limits.max_pixels);
      ASSERT_GE(size.pixels(), limits.min_pixels);
    }
  }
}

TEST(Geometry, RefusesShapesThatAreNoPictures) {
  for (const PictureSize& size : {PictureSize{0, 10}, PictureSize{10, 0}, PictureSize{-5, 10}, PictureSize{201, 1},
                                  PictureSize{1, 201}, PictureSize{int64_t{1} << 40, int64_t{1} << 40}}) {
    EXPECT_THROW(smart_resize(size), ArgumentError);
    EXPECT_THROW(reference_sizes(size, EditRules::plus), ArgumentError);
    EXPECT_THROW(default_edit_size(size), ArgumentError);
  }
  EXPECT_NO_THROW(reference_sizes({200, 1}, EditRules::plus));
  EXPECT_THROW(size_of_area(1024, std::nan("")), ArgumentError);
  EXPECT_THROW(size_of_area(0, 1), ArgumentError);
}

}  // namespace
}  // namespace inkling
