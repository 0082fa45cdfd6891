// Against the metric that the shipped model is judged by (tools/evaluate/metrics.py), on pictures made by a formula.
#include "editing/similarity.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "formats/resample.h"

namespace inkling {
namespace {

constexpr int kWidth = 40, kHeight = 28;

bool masked(int x, int y) { return x >= 26 && y < 12; }

Image before() {
  Image image = Image::blank(kWidth, kHeight, 3);
  for (int y = 0; y < kHeight; ++y)
    for (int x = 0; x < kWidth; ++x)
      for (int c = 0; c < 3; ++c)
        image.at(x, y)[c] = static_cast<uint8_t>((x * 3 + y * 5 + c * 40 + (x * y) % 17 * 4) % 256);
  return image;
}

Image after() {
  Image image = before();
  for (int y = 0; y < kHeight; ++y)
    for (int x = 0; x < kWidth; ++x)
      for (int c = 0; c < 3; ++c) {
        uint8_t& p = image.at(x, y)[c];
        p = masked(x, y) ? 255 : static_cast<uint8_t>(std::clamp(p + (x ^ y) % 7 * 6 - 18, 0, 255));
      }
  return image;
}

Image mask() {
  Image image = Image::blank(kWidth, kHeight, 1);
  for (int y = 0; y < kHeight; ++y)
    for (int x = 0; x < kWidth; ++x) *image.at(x, y) = masked(x, y) ? 255 : 0;
  return image;
}

TEST(Similarity, IsTheMetricOfTheEvaluation) {
  const auto all = similarity(before(), after());
  ASSERT_TRUE(all);
  EXPECT_NEAR(all->ssim, 0.77540767, 1e-5);
  EXPECT_NEAR(all->psnr, 15.817358, 1e-3);
  EXPECT_EQ(all->share, 1);
  const Image m = mask();
  const auto outside = similarity(before(), after(), &m);
  ASSERT_TRUE(outside);
  EXPECT_NEAR(outside->ssim, 0.89786965, 1e-5);
  EXPECT_NEAR(outside->psnr, 26.744946, 1e-3);
  EXPECT_NEAR(outside->share, 0.85, 1e-9);
}

TEST(Similarity, EqualPicturesAndOtherSizes) {
  const auto equal = similarity(before(), before());
  EXPECT_EQ(equal->psnr, 100);
  EXPECT_NEAR(equal->ssim, 1, 1e-6);
  const Image large = resample(before(), 160, 112, ResampleFilter::bicubic);
  const auto back = similarity(large, resample(large, kWidth, kHeight, ResampleFilter::bicubic));
  EXPECT_EQ(back->psnr, 100) << "the first picture is brought to the size of the second";
}

TEST(Similarity, NothingLeftToCompare) {
  const Image everything = Image::blank(3, 3, 1, 255);
  EXPECT_FALSE(similarity(before(), after(), &everything));
  EXPECT_TRUE(similarity(Image::blank(1, 1, 3), Image::blank(1, 1, 3))) << "mirrored borders of one pixel";
}

}  // namespace
}  // namespace inkling
