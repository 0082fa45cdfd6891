// What a caller asks for and what comes back: the same two structs for the command line, the server and the
// C interface.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "formats/image.h"
#include "models/qwen_image/tiling.h"
#include "tensor/tensor.h"

namespace inkling {

class OptionValues;

enum class RngKind { cpu, cuda };  // whose generator the noise reproduces
enum class ScheduleKind { automatic, base, lightning };
enum class Geometry { keep, reference };  // of an edit's output

struct Request {
  std::string prompt;  // before the style is applied
  std::optional<std::string> negative_prompt;
  std::string style = "none";
  std::vector<Image> images;  // RGB; empty: text to image; 1-3: edit
  std::optional<Image> mask;  // one channel, size of images[0]; 255 may change
  Geometry geometry = Geometry::keep;
  int width = 0, height = 0;  // pixels; 0: the model's default, or from the picture
  int steps = 0;              // 0: the model's default
  float cfg_scale = -1;       // < 0: the model's default
  int64_t seed = 0;
  RngKind rng = RngKind::cpu;
  ScheduleKind schedule = ScheduleKind::automatic;
  int batch = 1;                     // picture i is drawn with seed + i
  std::optional<Tiling> vae_tiling;  // set: decode and encode in overlapping tiles
  // Given: only decoded. One tensor per picture of the batch, as Result::latents of a run of the same size; prompt,
  // steps and guidance are then without effect on the pixels.
  std::optional<std::vector<Tensor>> latents;
  bool keep_latents = false;  // fill Result::latents

  // For parity tests: the reference pipeline's areas where a test had to shrink them; 0 = as documented.
  int64_t vae_area = 0, vl_area = 0;
};

// small: 1/8 of each side, by a linear map of the latents on the host (preview.h); costs next to nothing and no device
// memory. full: the VAE decodes every preview, as slow and as large as the last decoding; on a GPU with a tight budget
// it may find no memory.
enum class PreviewSize { small, full };

struct Callbacks {
  ProgressFn progress;
  // (step, counted through the batch; picture of the predicted final latents); called after each step when set.
  std::function<void(int step, const Image& image)> preview;
  PreviewSize preview_size = PreviewSize::small;
  const CancelToken* cancel = nullptr;
};

struct Result {
  std::vector<Image> images;
  std::vector<int64_t> seeds;
  int width = 0, height = 0, steps = 0;
  float cfg_scale = 1;
  std::string prompt;                     // as encoded, style included
  std::map<std::string, double> seconds;  // by phase
  int64_t activation_peak_bytes = 0;
  int64_t device_bytes = 0;  // GPU memory taken at most, CUDA's own share included; 0 on the CPU
  std::string device, precision;
  std::vector<std::string> notes;  // what was done differently from what was asked, and why
  std::vector<Tensor> latents;     // one per picture, host f32 [N, 64], packed; empty unless Request::keep_latents
  bool embedding_cached = false;   // every prompt came from the cache: the text encoder did not run
};

// Of one member of Engine::run_batch: exactly one of the two is set.
struct Outcome {
  std::optional<Result> result;
  std::exception_ptr error;  // an inkling::Error: CancelledError, NumericError, ArgumentError, ...
};

// Reads pictures and checks every field. Throws ArgumentError naming the field.
Request make_request(const OptionValues& options, bool edit);

// PNG text: "parameters" (the common one-line form) and "inkling" (JSON of every setting). `index`: picture in the
// result.
std::map<std::string, std::string> picture_metadata(const Request& request, const Result& result, size_t index,
                                                    const std::string& model_name);

}  // namespace inkling
