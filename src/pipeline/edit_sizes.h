// Sizes of an edit: what the transformer draws, what it reads of each picture, what the vision tower sees. From sizes
// alone, so that a plan knows them without the pictures.
#pragma once

#include <span>
#include <vector>

#include "models/registry.h"
#include "pipeline/geometry.h"
#include "pipeline/request.h"

namespace inkling {

struct EditQuestion {
  Geometry geometry = Geometry::keep;
  int width = 0, height = 0;              // as asked; 0: of the pictures
  int64_t vae_area = 0, vision_area = 0;  // as asked; 0: the model's
};

struct EditSizes {
  struct Picture {
    PictureSize scaled;         // before it is padded
    PictureSize reference;      // of which the VAE makes latents: whole tokens
    PictureSize first, vision;  // steps on the way to the vision tower
  };
  std::vector<Picture> pictures;
  PictureSize output;         // whole tokens
  bool keeps_pixels = false;  // the first picture is on its own pixel grid, padded, or scaled down if it is too large
};

EditSizes edit_sizes(std::span<const PictureSize> pictures, const EditQuestion& question, PipelineKind kind,
                     const ModelDefaults& defaults, const ProcessorConfig& processor);

}  // namespace inkling
