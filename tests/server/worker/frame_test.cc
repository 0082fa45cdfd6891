// The link between server and worker: whole frames whatever the pieces, and nothing but an error for what is no frame.
#include "server/worker/frame.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "server/draw_request.h"

namespace inkling::server {
namespace {

Blob blob(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

TEST(Frame, ComesWholeFromAnyPieces) {
  const Frame sent{{{"type", "run"}, {"text", "黄色的小鸭子"}},
                   {blob("first"), blob(""), blob(std::string(70'000, '\xff'))}};
  const std::string bytes = encode_frame(sent) + encode_frame(sent);
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    FrameReader reader;
    size_t frames = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = std::min<size_t>(1 + random() % (round == 0 ? 1 : 50'000), bytes.size() - at);
      reader.feed(bytes.data() + at, n);
      at += n;
      while (const auto frame = reader.next()) {
        ++frames;
        EXPECT_EQ(frame->message, sent.message);
        ASSERT_EQ(frame->blobs.size(), 3u);
        for (size_t i = 0; i < 3; ++i) EXPECT_EQ(*frame->blobs[i], *sent.blobs[i]);
      }
    }
    EXPECT_EQ(frames, 2u);
  }
}

TEST(Frame, EveryFlippedByteOfTheHeadIsAnErrorOrWaits) {
  const std::string good = encode_frame({{{"type", "done"}}, {blob("picture")}});
  for (size_t at = 0; at < 16; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      FrameReader reader;
      reader.feed(bad.data(), bad.size());
      try {
        // A smaller length may leave a frame whose JSON is cut: an error. A larger one waits for bytes.
        const auto frame = reader.next();
        EXPECT_TRUE(!frame || frame->message.is_object());
      } catch (const RuntimeError&) {
      }
    }
  }
}

TEST(Frame, RefusesWhatIsTooLargeBeforeItComes) {
  const auto number = [](uint32_t v) { return std::string{char(v), char(v >> 8), char(v >> 16), char(v >> 24)}; };
  for (const std::string& head :
       {"INK1" + number(0xffffffff) + number(0), "INK1" + number(2) + number(65),
        "INK1" + number(2) + number(2) + number(0x7fffffff) + number(0x7fffffff), "JUNK" + number(2) + number(0),
        "INK1" + number(2) + number(0) + "[]", "INK1" + number(9) + number(0) + R"({"a":"b"})"}) {
    FrameReader reader;
    reader.feed(head.data(), head.size());
    EXPECT_THROW(reader.next(), RuntimeError) << head;
  }
}

DrawRequest wish() {
  DrawRequest w;
  w.prompt = "a \"quoted\" duck\n";
  w.negative_prompt = "rain";
  w.seed = -9007199254740992;
  w.width = 512, w.height = 256, w.n = 3;
  w.images = {blob("one"), blob("two")};
  w.mask = blob("mask");
  w.mask_polarity = MaskPolarity::transparent_edits;
  w.postprocess = {{"sharpen", 0.5}};
  return w;
}

TEST(DrawRequest, TravelsUnchanged) {
  const DrawRequest sent = wish();
  std::vector<Blob> blobs{blob("of another wish")};
  append_blobs(sent, blobs);
  size_t next = 1;
  const DrawRequest got = draw_request_from_json(to_json(sent), blobs, next);
  EXPECT_EQ(next, 4u);
  EXPECT_EQ(to_json(got), to_json(sent));
  EXPECT_EQ(*got.images[1], "two");
  EXPECT_EQ(*got.mask, "mask");
  EXPECT_EQ(got.negative_prompt, sent.negative_prompt);
  size_t too_far = 3;
  EXPECT_THROW(draw_request_from_json(to_json(sent), blobs, too_far), RuntimeError);
}

TEST(DrawRequest, EveryFieldThatChangesAPictureChangesTheKey) {
  const DrawRequest base = wish();
  const auto differs = [&](auto change) {
    DrawRequest other = base;
    change(other);
    return canonical(other, "owner") != canonical(base, "owner");
  };
  EXPECT_TRUE(differs([](auto& w) { w.prompt += " "; }));
  EXPECT_TRUE(differs([](auto& w) { w.negative_prompt.reset(); }));
  EXPECT_TRUE(differs([](auto& w) { w.style = "kids_cute_v2"; }));
  EXPECT_TRUE(differs([](auto& w) { w.model = "other"; }));
  EXPECT_TRUE(differs([](auto& w) { w.geometry = "reference"; }));
  EXPECT_TRUE(differs([](auto& w) { w.output_format = "webp"; }));
  EXPECT_TRUE(differs([](auto& w) { w.width += 16; }));
  EXPECT_TRUE(differs([](auto& w) { w.height += 16; }));
  EXPECT_TRUE(differs([](auto& w) { w.steps = 3; }));
  EXPECT_TRUE(differs([](auto& w) { w.n = 1; }));
  EXPECT_TRUE(differs([](auto& w) { w.quality = 50; }));
  EXPECT_TRUE(differs([](auto& w) { w.cfg_scale = 2; }));
  EXPECT_TRUE(differs([](auto& w) { w.seed++; }));
  EXPECT_TRUE(differs([](auto& w) { w.label = true; }));
  EXPECT_TRUE(differs([](auto& w) { w.auto_mask = true; }));
  EXPECT_TRUE(differs([](auto& w) { w.check_pictures = true; }));
  EXPECT_TRUE(differs([](auto& w) { w.postprocess["sharpen"] = 0.6; }));
  EXPECT_TRUE(differs([](auto& w) { w.images[0] = blob("onE"); }));
  EXPECT_TRUE(differs([](auto& w) { std::swap(w.images[0], w.images[1]); }));
  EXPECT_TRUE(differs([](auto& w) { w.mask = blob("masK"); }));
  EXPECT_TRUE(differs([](auto& w) { w.mask_polarity = MaskPolarity::white_edits; }));
  EXPECT_FALSE(differs([](auto& w) { w.preview = true; }));
  EXPECT_NE(canonical(base, "owner"), canonical(base, "another")) << "uploads of two keys never meet";
}

}  // namespace
}  // namespace inkling::server
