// The process that decodes uploads: answers as the decoders in this process do, and is no more than an error when it
// dies, hangs up or lies.
#include "server/worker/decoder.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "server/worker/frame.h"

namespace inkling::server {
namespace {

constexpr ImageLimits kLimits{.max_bytes = 1 << 20, .max_pixels = 10'000, .max_side = 200};

Image pattern(int channels) {
  Image image = Image::blank(40, 30, channels);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7);
  return image;
}

std::string error_of(const DecoderProcess& decoder, const std::vector<std::byte>& bytes) {
  try {
    decoder.image(bytes, "images[0]", kLimits);
  } catch (const ArgumentError& e) {
    return e.what();
  }
  return "no error";
}

// A "decoder" that answers with these bytes, whatever it is asked.
DecoderProcess answering(const std::string& bytes) {
  std::string octal;
  for (const char c : bytes) octal += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  return DecoderProcess({"/bin/sh", "-c", "printf '" + octal + "' >&3; sleep 20"});
}

TEST(Decoder, AProcessThatDiesOrLiesIsAnError) {
  const auto png = encode_png(pattern(3));
  const std::string wanted = "images[0]: the picture could not be decoded";
  EXPECT_EQ(error_of(DecoderProcess({"/bin/false"}), png), wanted);
  EXPECT_EQ(error_of(DecoderProcess({"/bin/sh", "-c", "kill -SEGV $$"}), png), wanted);
  EXPECT_EQ(error_of(answering("garbage that is no frame"), png), wanted);
  const auto frame = [](int width, int height, int channels, size_t bytes) {
    return encode_frame({{{"type", "picture"}, {"width", width}, {"height", height}, {"channels", channels}},
                         {std::make_shared<std::string>(bytes, 'x')}});
  };
  EXPECT_EQ(error_of(answering(frame(2, 2, 3, 12)), png), "no error");
  EXPECT_EQ(error_of(answering(frame(2, 2, 3, 11)), png), wanted);
  EXPECT_EQ(error_of(answering(frame(2, 2, 1, 4)), png), wanted);
  EXPECT_EQ(error_of(answering(frame(-2, -2, 3, 12)), png), wanted);
  EXPECT_EQ(error_of(answering(frame(1000, 2, 3, 6000)), png), wanted) << "more than the limits allow";
  for (const nlohmann::json& lie : {nlohmann::json{{"type", "picture"}, {"width", "2"}, {"height", 2}, {"channels", 3}},
                                    nlohmann::json{{"type", "picture"}}, nlohmann::json{{"type", "error"}}})
    EXPECT_EQ(error_of(answering(encode_frame({lie, {std::make_shared<std::string>(12, 'x')}})), png), wanted) << lie;
  EXPECT_THROW(DecoderProcess({"/no/such/program"}).image(png, "x", kLimits), RuntimeError);
}

TEST(Decoder, AnswersOnePicture) {
  // run_decoder gives up the rights of its process, so it runs in one of its own.
  const auto ask = [](const Frame& question) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pair[0]);
      ::_exit(run_decoder(pair[1]));
    }
    ::close(pair[1]);
    const std::string bytes = encode_frame(question);
    EXPECT_EQ(::send(pair[0], bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    FrameReader reader;
    char chunk[4096];
    for (;;) {
      if (const auto frame = reader.next()) return *frame;
      const ssize_t n = ::recv(pair[0], chunk, sizeof(chunk), 0);
      if (n <= 0) return Frame{};
      reader.feed(chunk, static_cast<size_t>(n));
    }
  };
  const auto question = [](const std::vector<std::byte>& bytes, bool mask) {
    return Frame{{{"type", "decode"},
                  {"name", "images[0]"},
                  {"mask", mask},
                  {"max_bytes", kLimits.max_bytes},
                  {"max_pixels", kLimits.max_pixels},
                  {"max_side", kLimits.max_side}},
                 {std::make_shared<const std::string>(reinterpret_cast<const char*>(bytes.data()), bytes.size())}};
  };
  for (const auto& bytes : {encode_png(pattern(3)), encode_jpeg(pattern(3), 95), encode_webp(pattern(3), 90)}) {
    const Frame answer = ask(question(bytes, false));
    ASSERT_EQ(answer.message.value("type", ""), "picture") << answer.message;
    const Image wanted = decode_image(bytes, "x");
    EXPECT_EQ(answer.message["width"], 40);
    ASSERT_EQ(answer.blobs[0]->size(), wanted.pixels.size());
    EXPECT_TRUE(std::equal(wanted.pixels.begin(), wanted.pixels.end(),
                           reinterpret_cast<const uint8_t*>(answer.blobs[0]->data())));
  }
  Image with_alpha = pattern(4);
  EXPECT_TRUE(ask(question(encode_webp(with_alpha, 90), true)).message.value("from_alpha", false));
  const Frame large = ask(question(encode_png(Image::blank(150, 150, 3)), false));
  EXPECT_EQ(large.message.value("type", ""), "error") << "the limits travel with the picture";
  EXPECT_NE(large.message.value("message", "").find("images[0]"), std::string::npos);
}

}  // namespace
}  // namespace inkling::server
