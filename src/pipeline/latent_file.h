// Latents of finished pictures as a file: a safetensors file (named *.latent) with one packed tensor a picture and
// strings that say what they are of. Decoding one costs the VAE alone.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace inkling {

struct LatentFile {
  std::vector<Tensor> latents;                  // host f32 [N, C], packed: N = width / 16 * height / 16
  int width = 0, height = 0;                    // pixels that the DiT drew
  std::map<std::string, std::string> metadata;  // prompt, seed, size, fingerprint of the model: what the writer gave
};

// Appears complete or not at all. Throws ArgumentError for latents of another shape than the size says or that are not
// finite, RuntimeError for what the file system refuses.
void write_latents(const std::filesystem::path& path, const std::vector<Tensor>& latents, int width, int height,
                   const std::map<std::string, std::string>& metadata = {});
// Throws ModelError: not such a file, sizes or shapes that disagree, a value that is not finite.
LatentFile read_latents(const std::filesystem::path& path);

}  // namespace inkling
