// Draws without a model: for load tests, where the time of a picture must be known exactly.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <thread>

#include "base/error.h"
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

// The device's calls, of which one may fail.
class Faults {
 public:
  explicit Faults(std::string file) : file_(std::move(file)) {}

  void begin_batch() {
    char at = 0;
    int code = 0, call = 0;
    if (file_.empty() || !(std::ifstream(file_) >> code >> at >> call)) return;
    std::remove(file_.c_str());
    code_ = code;
    left_ = call;
  }
  void call(const char* what) {
    if (code_ != 0 && left_ > 0) --left_;
    if (code_ == 0 || left_ > 0) return;
    const int code = code_;
    if (code == 2) code_ = 0;
    throw_device_error(code, what, "injected");
  }

 private:
  const std::string file_;
  int code_ = 0, left_ = 0;
};

class SyntheticDrawer : public Drawer {
 public:
  SyntheticDrawer(double step_ms, const std::string& faults) : step_(step_ms), faults_(faults) {}
  void open(const ModelSpec& model) override {
    faults_.begin_batch();
    faults_.call("opening");
    model_ = model.id;
  }

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
            faults_.call("a step");
            if (callbacks[i].progress) callbacks[i].progress({"denoise", n * steps + step + 1, wish.n * steps});
            if (callbacks[i].cancel != nullptr) callbacks[i].cancel->throw_if_cancelled();
            if (callbacks[i].preview) callbacks[i].preview(n * steps + step + 1, image);
          }
          faults_.call("the picture");
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
  Faults faults_;
  std::string model_;
};

}  // namespace

std::unique_ptr<Drawer> make_synthetic_drawer(double step_ms, const std::string& faults) {
  return std::make_unique<SyntheticDrawer>(step_ms, faults);
}

}  // namespace inkling::server
