#include "formats/resample.h"

#include "base/threads.h"
#include "helpers.h"

namespace inkling::testing {
namespace {

Image load_image(const TensorFile& file, const std::string& name) {
  const Tensor t = file.load(*file.find(name));
  Image image{static_cast<int>(t.dim(1)),
              static_cast<int>(t.dim(0)),
              t.shape().rank() == 3 ? static_cast<int>(t.dim(2)) : 1,
              {}};
  image.pixels.assign(t.span<uint8_t>().begin(), t.span<uint8_t>().end());
  return image;
}

// Vectors are named <input>.<filter>.<width>x<height>.
void expect_equal_to_vectors(const std::string& kind, ResampleFilter filter, int tap_bits) {
  const auto file = open_tensor_file(data_path("resample.safetensors"));
  int compared = 0;
  for (const TensorEntry& entry : file->entries()) {
    if (entry.name.find("." + kind + ".") == std::string::npos) continue;
    const Image expected = load_image(*file, entry.name);
    const Image input = load_image(*file, entry.name.substr(0, entry.name.find('.')));
    EXPECT_TRUE(resample(input, expected.width, expected.height, filter, tap_bits).pixels == expected.pixels)
        << entry.name;
    ++compared;
  }
  EXPECT_GE(compared, 5);
}

TEST(Resample, LanczosEqualsPillowBitForBit) { expect_equal_to_vectors("lanczos", ResampleFilter::lanczos, 22); }
TEST(Resample, BicubicEqualsPillowBitForBit) { expect_equal_to_vectors("bicubic", ResampleFilter::bicubic, 22); }
TEST(Resample, Int16BicubicEqualsTorchBitForBit) { expect_equal_to_vectors("int16", ResampleFilter::bicubic, 0); }

TEST(Resample, TheSameSizeCopies) {
  const auto file = open_tensor_file(data_path("resample.safetensors"));
  const Image input = load_image(*file, "rgb");
  EXPECT_EQ(resample(input, input.width, input.height, ResampleFilter::lanczos).pixels, input.pixels);
}

TEST(Resample, TheNumberOfThreadsChangesNothing) {
  const auto file = open_tensor_file(data_path("resample.safetensors"));
  const Image input = load_image(*file, "rgb");
  const int threads = thread_count();
  set_thread_count(1);
  const Image one = resample(input, 200, 150, ResampleFilter::lanczos);
  set_thread_count(5);
  const Image five = resample(input, 200, 150, ResampleFilter::lanczos);
  set_thread_count(threads);
  EXPECT_EQ(one.pixels, five.pixels);
}

TEST(Resample, ExtremesOfSizeKeepAFlatColour) {
  for (const auto& [w, h] : {std::pair{1, 1}, std::pair{1, 900}, std::pair{900, 1}, std::pair{3, 700}}) {
    const Image out = resample(Image::blank(w, h, 4, 77), 31, 2, ResampleFilter::lanczos);
    EXPECT_EQ(out.pixels, std::vector<uint8_t>(31 * 2 * 4, 77));
    EXPECT_EQ(resample(Image::blank(w, h, 3, 255), 5, 5, ResampleFilter::bicubic, 0).pixels,
              std::vector<uint8_t>(75, 255));
  }
}

TEST(Resample, SizesWithoutPixelsAreRefused) {
  const Image image = Image::blank(2, 2, 3);
  expect_error<ArgumentError>([&] { resample(image, 0, 5, ResampleFilter::lanczos); }, "0x5");
  expect_error<ArgumentError>([&] { resample(image, 5, -1, ResampleFilter::lanczos); }, "5x-1");
  expect_error<ArgumentError>([&] { resample(image, 5, 5, ResampleFilter::lanczos, 23); }, "23 bits");
}

}  // namespace
}  // namespace inkling::testing
