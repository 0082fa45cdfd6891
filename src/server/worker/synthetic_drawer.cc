// Draws without a model: for load tests, where the time of a picture must be known exactly.
#include <chrono>
#include <functional>
#include <thread>

#include "server/worker/drawer.h"

namespace inkling::server {

namespace {

constexpr int kShown = 64;  // pixels of the ramp, where no size was asked for
constexpr int kSide = 256;  // the size whose steps take the time that was asked for; others in proportion
constexpr int kSteps = 4;

Image ramp(const std::string& prompt, int64_t seed, int width, int height) {
  Image image = Image::blank(width, height, 3);
  const size_t mix = std::hash<std::string>()(prompt) ^ (static_cast<size_t>(seed) * 0x9E3779B97F4A7C15ull);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* p = image.at(x, y);
      p[0] = static_cast<uint8_t>(255 * x / width);
      p[1] = static_cast<uint8_t>(255 * y / height);
      p[2] = static_cast<uint8_t>(mix >> 24);
    }
  return image;
}

class SyntheticDrawer : public Drawer {
 public:
  explicit SyntheticDrawer(double step_ms) : step_(step_ms) {}
  void open(const ModelSpec& model) override { model_ = model.id; }

  std::vector<DrawOutcome> draw(std::span<const ReadyWish> wishes, std::span<const Callbacks> callbacks) override {
    std::vector<DrawOutcome> outcomes(wishes.size());
    for (size_t i = 0; i < wishes.size(); ++i) try {
        const DrawRequest& wish = wishes[i].wish;
        const int steps = wish.steps > 0 ? wish.steps : kSteps;
        const auto step_time = wish.width > 0 ? step_ * (wish.width * wish.height / double{kSide * kSide}) : step_;
        for (int n = 0; n < wish.n; ++n) {
          const Image image = ramp(wish.prompt, wish.seed + n, wish.width > 0 ? wish.width : kShown,
                                   wish.height > 0 ? wish.height : kShown);
          for (int step = 0; step < steps; ++step) {
            std::this_thread::sleep_for(step_time);
            if (callbacks[i].progress) callbacks[i].progress({"denoise", n * steps + step + 1, wish.n * steps});
            if (callbacks[i].cancel != nullptr) callbacks[i].cancel->throw_if_cancelled();
            if (callbacks[i].preview) callbacks[i].preview(n * steps + step + 1, image);
          }
          outcomes[i].pictures.push_back({image, wish.seed + n});
        }
        outcomes[i].precision = "none";
      } catch (...) {
        outcomes[i].pictures.clear();
        outcomes[i].error = std::current_exception();
      }
    return outcomes;
  }

  nlohmann::json describe() const override {
    return {{"device", "none"}, {"device_bytes", 0}, {"model", model_}, {"fingerprint", "synthetic"}, {"name", model_}};
  }

 private:
  std::chrono::duration<double, std::milli> step_;
  std::string model_;
};

}  // namespace

std::unique_ptr<Drawer> make_synthetic_drawer(double step_ms) { return std::make_unique<SyntheticDrawer>(step_ms); }

}  // namespace inkling::server
