#include "pipeline/latent_file.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "diffusion/latents.h"
#include "formats/tensor_file.h"

namespace inkling {

namespace {

constexpr std::string_view kFormat = "inkling latents 1";
constexpr int kMaxSide = 16384;
constexpr size_t kMaxPictures = 64;

// Why this cannot be the latents of a picture of the size; empty: it can.
std::string fault(const Tensor& t, int width, int height) {
  const int64_t tokens = width / kPixelsPerToken * (height / kPixelsPerToken);
  if (t.shape().rank() != 2 || t.dim(0) != tokens || t.dim(1) % 4 != 0 || t.dim(1) == 0)
    return fmt::format("got shape {}, expected {} rows of four latent pixels", t.shape().str(), tokens);
  if (t.dtype() != DType::f32) return fmt::format("got type {}, expected f32", name(t.dtype()));
  for (const float v : t.span<float>())
    if (!std::isfinite(v)) return "holds a value that is not finite";
  return {};
}

bool possible_side(int side) { return side > 0 && side <= kMaxSide && side % kPixelsPerToken == 0; }

std::string tensor_name(size_t i) { return fmt::format("latents.{}", i); }

}  // namespace

void write_latents(const std::filesystem::path& path, const std::vector<Tensor>& latents, int width, int height,
                   const std::map<std::string, std::string>& metadata) {
  if (latents.empty() || latents.size() > kMaxPictures)
    throw ArgumentError("latents: got {} pictures, expected 1 to {}", latents.size(), kMaxPictures);
  if (!possible_side(width) || !possible_side(height))
    throw ArgumentError("latents: got a size of {}x{}, expected multiples of {}", width, height, kPixelsPerToken);
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < latents.size(); ++i) {
    if (const std::string f = fault(latents[i], width, height); !f.empty())
      throw ArgumentError("{}: {}", tensor_name(i), f);
    tensors.push_back({tensor_name(i), DType::f32, latents[i].shape()});
  }
  std::map<std::string, std::string> text = metadata;
  text["format"] = kFormat;
  text["width"] = std::to_string(width);
  text["height"] = std::to_string(height);
  write_safetensors(
      path, tensors, [&](size_t i) { return latents[i]; }, text);
}

LatentFile read_latents(const std::filesystem::path& path) {
  const auto file = open_tensor_file(path);
  LatentFile result;
  result.metadata = file->metadata();
  if (result.metadata["format"] != kFormat)
    throw ModelError("{}: is no file of latents (format '{}', expected '{}')", path.string(),
                     result.metadata["format"].substr(0, 64), kFormat);
  const auto side = [&](const char* key) {
    const std::string& text = result.metadata[key];
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !possible_side(value))
      throw ModelError("{}: {} is '{}', expected a multiple of {} of at most {}", path.string(), key,
                       text.substr(0, 64), kPixelsPerToken, kMaxSide);
    return value;
  };
  result.width = side("width");
  result.height = side("height");
  if (file->entries().empty() || file->entries().size() > kMaxPictures)
    throw ModelError("{}: holds {} tensors, expected 1 to {}", path.string(), file->entries().size(), kMaxPictures);
  for (size_t i = 0; i < file->entries().size(); ++i) {
    const TensorEntry* entry = file->find(tensor_name(i));
    if (entry == nullptr) throw ModelError("{}: {} is missing", path.string(), tensor_name(i));
    const Tensor t = file->load(*entry);
    if (const std::string f = fault(t, result.width, result.height); !f.empty())
      throw ModelError("{}: {} {}", path.string(), tensor_name(i), f);
    // A copy: the file may change or go while the latents are in use.
    result.latents.push_back(host_tensor(t.shape(), t.span<float>()));
  }
  return result;
}

}  // namespace inkling
