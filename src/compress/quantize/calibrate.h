// Rounding of the transformer's matrices by what they are multiplied with: the model draws a few prompts, and block by
// block every matrix is rounded so that its outputs on those inputs change least (error_feedback.h).
//
// Two runs go through the blocks side by side, one with the weights as they are and one with those rounded so far, down
// to the matrix before. A matrix is fitted to give on the second run's inputs what it gave on the first's, so that it
// makes good a part of the error before it (GPTAQ, arXiv 2504.02692); the mean error goes into the bias.
//
// One block is in memory at a time, in float32 and twice, and beside it both streams of all prompts.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "tensor/low_bit.h"

namespace inkling {

struct CalibrationPrompt {
  std::string text;
  int64_t seed = 0;
};
// One prompt a line, or JSON lines with "prompt" and perhaps "seed" (else the line's number). Throws ArgumentError.
std::vector<CalibrationPrompt> read_calibration_prompts(const std::filesystem::path& path);

struct CalibrationOptions {
  std::vector<CalibrationPrompt> prompts;
  LowBit form = LowBit::w4a8;  // w4a8 or w8a8; a matrix that w4a8 does not fit becomes w8a8
  // More than 0, with w4a8: bits a weight in memory, on average over the matrices of the blocks. Those whose 4 bits
  // change the velocity most, for the bytes that 8 would take, are kept at w8a8.
  double bits = 0;
  ProgressFn progress;
  const CancelToken* cancel = nullptr;
};

struct CalibratedMatrix {
  std::string name;  // as in the module tree, without ".weight"
  LowBitMatrix matrix;
  Tensor bias;  // f32 [out]
  // Variance that rounding adds to the output, over the variance of the output: to the nearest, and as it is.
  double nearest = 0, calibrated = 0;
};

class Calibration {
 public:
  // Draws the prompts with the model as it is. `model`: a whole model, as Engine opens it. Throws ArgumentError and
  // what Engine throws.
  Calibration(const std::filesystem::path& model, const CalibrationOptions& options);
  ~Calibration();
  Calibration(const Calibration&) = delete;
  Calibration& operator=(const Calibration&) = delete;

  // What each matrix becomes.
  const std::map<std::string, LowBit>& forms() const;
  // Every matrix of forms() once, in order of use.
  void run(const std::function<void(const CalibratedMatrix&)>& sink);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// What of a matrix's bits is worth its bytes: those of the largest gain per byte within the budget become w8a8.
struct MatrixCost {
  std::string name;
  Shape shape;
  double error = 0;  // that 4 bits add
};
void spend_bits(const std::vector<MatrixCost>& matrices, double bits, std::map<std::string, LowBit>& forms);

}  // namespace inkling
