// Rounding of the transformer's matrices by what they are multiplied with: the model draws a few prompts, and block by
// block every matrix is rounded so that its outputs on those inputs change least (error_feedback.h).
//
// Two runs go through the blocks side by side, one with the weights as they are and one with what has been rounded so
// far. A matrix is fitted to give on the second run's inputs what the original gives on the first's, so that it makes
// good a part of the error before it (GPTAQ, arXiv 2504.02692); the mean error goes into the bias.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "tensor/low_bit.h"

namespace inkling {

struct CalibrationPrompt {
  std::string text;
  int64_t seed = 0;
};
// A file of one prompt a line, or of JSON lines with "prompt" and perhaps "seed". Throws ArgumentError.
std::vector<CalibrationPrompt> read_calibration_prompts(const std::filesystem::path& path);

struct CalibrationOptions {
  std::vector<CalibrationPrompt> prompts;
  double damping = 0.01;
  bool follow_error = true;  // fit to the original's outputs on the original's inputs
  bool fit_bias = true;
  int sweeps = 4;
  int stages = 4;
  std::map<std::string, LowBit> forms;  // others: w4a8 where it fits
  ProgressFn progress;
  const CancelToken* cancel = nullptr;
};

struct CalibratedMatrix {
  std::string name;  // canonical, without ".weight"
  LowBitMatrix matrix;
  Tensor bias;  // f32 [out]
  // Mean square of the output's error over the mean square of the output, both without their means: rounded to the
  // nearest, and as it is now.
  double nearest = 0, calibrated = 0;
};

void calibrate_transformer(const std::filesystem::path& model, const CalibrationOptions& options,
                           const std::function<void(CalibratedMatrix)>& sink);

}  // namespace inkling
