#include <cmath>

#include "formats/image.h"
#include "helpers.h"

namespace inkling::testing {
namespace {

// Compares with what Pillow makes of the file; `tolerance` in levels.
struct Kind {
  std::string file;
  int tolerance = 0;
};

class DecodesAsPillow : public ::testing::TestWithParam<Kind> {};

TEST_P(DecodesAsPillow, EveryPixel) {
  const auto file = open_tensor_file(data_path("images/expected.safetensors"));
  const Tensor expected = file->load(*file->find(GetParam().file));
  const Image image = read_image(data_path("images/" + GetParam().file));
  ASSERT_EQ(image.channels, 3);
  ASSERT_EQ(image.height, expected.dim(0));
  ASSERT_EQ(image.width, expected.dim(1));
  int worst = 0;
  for (size_t i = 0; i < image.pixels.size(); ++i)
    worst = std::max(worst, std::abs(image.pixels[i] - expected.span<uint8_t>()[i]));
  EXPECT_LE(worst, GetParam().tolerance);
}

// Lossy formats and colour management may round differently in another version of the library.
INSTANTIATE_TEST_SUITE_P(Images, DecodesAsPillow,
                         ::testing::Values(Kind{"rgb.png"}, Kind{"grey.png"}, Kind{"rgba.png"}, Kind{"grey_alpha.png"},
                                           Kind{"palette.png"}, Kind{"palette_alpha.png"}, Kind{"one_bit.png"},
                                           Kind{"rgb16.png"}, Kind{"interlaced.png"}, Kind{"icc.png", 1},
                                           Kind{"srgb_icc.png"}, Kind{"linear.png", 1}, Kind{"turned.png"},
                                           Kind{"rgb.jpg", 2}, Kind{"progressive.jpg", 2}, Kind{"grey.jpg", 2},
                                           Kind{"icc.jpg", 4}, Kind{"cmyk.jpg", 3}, Kind{"rgb.webp"}, Kind{"rgba.webp"},
                                           Kind{"lossy.webp", 2}, Kind{"turned.webp"}, Kind{"icc.webp", 1}),
                         [](const auto& info) {
                           std::string name = info.param.file;
                           for (char& c : name)
                             if (c == '.') c = '_';
                           return name;
                         });

TEST(Images, ExifOrientationTurnsThePicture) {
  // The stored picture is 32x16, white, with red at the top left.
  const int red_x[] = {0, 1, 1, 0, 0, 1, 1, 0}, red_y[] = {0, 0, 1, 1, 0, 0, 1, 1};  // right? bottom?
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image image = read_image(data_path("images/turn" + std::to_string(orientation) + ".jpg"));
    EXPECT_EQ(image.width, orientation >= 5 ? 16 : 32);
    const int x = red_x[orientation - 1] != 0 ? image.width - 4 : 3,
              y = red_y[orientation - 1] != 0 ? image.height - 4 : 3;
    EXPECT_GT(image.at(x, y)[0], 240) << orientation;
    EXPECT_LT(image.at(x, y)[1], 15) << orientation;
    EXPECT_GT(image.at(image.width - 1 - x, image.height - 1 - y)[1], 240) << orientation;
  }
}

TEST(Images, PngRoundTripIsExactInEveryChannelCount) {
  for (const int channels : {1, 3, 4}) {
    Image image = Image::blank(37, 23, channels);
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7);
    if (channels == 4)
      for (size_t i = 3; i < image.pixels.size(); i += 4) image.pixels[i] = 255;
    const Image back = decode_image(encode_png(image), "file");
    for (int y = 0; y < 23; ++y)
      for (int x = 0; x < 37; ++x)
        for (int c = 0; c < 3; ++c) ASSERT_EQ(back.at(x, y)[c], image.at(x, y)[channels == 1 ? 0 : c]);
  }
}

TEST(Images, EncodersAreDeterministic) {
  Image image = Image::blank(64, 64, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * i >> 5);
  EXPECT_EQ(encode_png(image, {{"seed", "1"}}), encode_png(image, {{"seed", "1"}}));
  EXPECT_EQ(encode_jpeg(image), encode_jpeg(image));
  EXPECT_EQ(encode_webp(image), encode_webp(image));
}

TEST(Images, JpegAndWebpRoundTripsStayClose) {
  Image image = Image::blank(64, 48, 3);
  for (int y = 0; y < 48; ++y)
    for (int x = 0; x < 64; ++x)
      for (int c = 0; c < 3; ++c) image.at(x, y)[c] = static_cast<uint8_t>(60 + 2 * x + (c - 1) * y);
  for (const auto& bytes : {encode_jpeg(image), encode_webp(image)}) {
    const Image back = decode_image(bytes, "file");
    double sum = 0;
    for (size_t i = 0; i < image.pixels.size(); ++i) sum += std::abs(back.pixels[i] - image.pixels[i]);
    EXPECT_LT(sum / static_cast<double>(image.pixels.size()), 3);
  }
  const Image grey = decode_image(encode_jpeg(Image::blank(8, 8, 1, 99)), "file");
  EXPECT_NEAR(grey.pixels[0], 99, 1);
}

TEST(Images, MasksTakeTheAlphaChannelOrTheGreyValue) {
  const TemporaryFolder folder;
  Image rgba = Image::blank(4, 1, 4, 200);
  for (int x = 0; x < 4; ++x) rgba.at(x, 0)[3] = static_cast<uint8_t>(x * 85);
  write_image(folder / "a.png", rgba);
  EXPECT_EQ(read_mask(folder / "a.png").pixels, (std::vector<uint8_t>{0, 85, 170, 255}));
  for (int x = 0; x < 4; ++x) rgba.at(x, 0)[3] = 255;  // opaque: the colour counts
  write_image(folder / "b.png", rgba);
  EXPECT_EQ(read_mask(folder / "b.png").pixels, (std::vector<uint8_t>{200, 200, 200, 200}));
  Image grey = Image::blank(2, 1, 1);
  grey.pixels = {0, 255};
  write_image(folder / "c.PNG", grey);
  EXPECT_EQ(read_mask(folder / "c.PNG").pixels, grey.pixels);
  EXPECT_EQ(read_mask(folder / "c.PNG").channels, 1);
}

TEST(Images, OneWritesWhatTheFileNameSays) {
  const TemporaryFolder folder;
  for (const int channels : {1, 3, 4}) {
    for (const char* file : {"a.png", "a.jpg", "a.JPEG", "a.webp"}) {
      write_image(folder / file, Image::blank(8, 8, channels, 128));
      EXPECT_EQ(read_image(folder / file).width, 8);
    }
  }
  EXPECT_EQ(read_bytes(folder / "a.jpg")[0], std::byte{0xff});
  EXPECT_EQ(read_bytes(folder / "a.webp")[8], std::byte{'W'});
  EXPECT_EQ(folder.file_count(), 4u);
  expect_error<ArgumentError>([&] { write_image(folder / "a.gif", Image::blank(8, 8, 3)); }, ".png, .jpg");
  expect_error<ArgumentError>([&] { write_image(folder / "a", Image::blank(8, 8, 3)); }, ".png, .jpg");
}

TEST(Images, DiskErrorsNamePathAndReason) {
  const TemporaryFolder folder;
  const Image image = Image::blank(8, 8, 3);
  std::filesystem::create_symlink("/dev/full", folder / "full.png");
  expect_error<RuntimeError>([&] { write_image(folder / "full.png", image); },
                             "full.png: cannot be written: No space left");
  expect_error<RuntimeError>([&] { write_image(folder / "absent/a.png", image); }, "No such file");
  expect_error<RuntimeError>([&] { write_image("/proc/a.png", image); }, "/proc/a.png: cannot be written");
}

TEST(Images, EncodersRefuseWhatTheyCannotHold) {
  expect_error<ArgumentError>([] { encode_png(Image::blank(0, 5, 3)); }, "0x5");
  expect_error<ArgumentError>([] { encode_png(Image::blank(5, 5, 2)); }, "2 channels");
  expect_error<ArgumentError>([] { encode_jpeg(Image::blank(70000, 1, 3)); }, "70000x1");
  expect_error<ArgumentError>([] { encode_webp(Image::blank(16384, 1, 3)); }, "16383");
}

}  // namespace
}  // namespace inkling::testing
