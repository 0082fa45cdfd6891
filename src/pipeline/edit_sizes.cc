#include "pipeline/edit_sizes.h"

#include <algorithm>
#include <cmath>

#include "diffusion/latents.h"

namespace inkling {

namespace {

// An edit that keeps the geometry works on the input's own pixels up to this many times the model's reference area.
constexpr double kLargestOwnArea = 1.75;

int64_t either(int64_t asked, int64_t of_model, int64_t otherwise) {
  return asked > 0 ? asked : of_model > 0 ? of_model : otherwise;
}

PictureSize padded_to_tokens(PictureSize size) {
  const auto up = [](int64_t side) { return (side + kPixelsPerToken - 1) / kPixelsPerToken * kPixelsPerToken; };
  return {up(size.width), up(size.height)};
}

// The picture's own size, or one of `area` where it is much larger.
PictureSize own_size(PictureSize picture, int64_t area) {
  if (static_cast<double>(picture.pixels()) <= kLargestOwnArea * static_cast<double>(area)) return picture;
  const double shrink = std::sqrt(static_cast<double>(area) / static_cast<double>(picture.pixels()));
  const auto side = [&](int64_t length) {
    return std::max<int64_t>(16, std::llround(static_cast<double>(length) * shrink));
  };
  return {side(picture.width), side(picture.height)};
}

}  // namespace

EditSizes edit_sizes(std::span<const PictureSize> pictures, const EditQuestion& question, PipelineKind kind,
                     const ModelDefaults& defaults, const ProcessorConfig& processor) {
  const int64_t area = either(question.vae_area, defaults.vae_reference_area, kVaeArea);
  const bool first_edition = kind == PipelineKind::edit;
  const int64_t seen = either(question.vision_area, defaults.vision_reference_area, first_edition ? area : kVisionArea);
  EditSizes sizes;
  sizes.keeps_pixels = question.geometry == Geometry::keep && question.width == 0;
  for (const PictureSize& p : pictures) {
    EditSizes::Picture result;
    const bool own = sizes.keeps_pixels && sizes.pictures.empty();
    result.scaled = own ? own_size(p, area) : size_of_area(area, p.ratio());
    result.reference = own ? padded_to_tokens(result.scaled) : result.scaled;
    result.first = size_of_area(seen, p.ratio());
    result.vision = smart_resize(result.first, {28, processor.min_pixels, processor.max_pixels});
    sizes.pictures.push_back(result);
  }
  if (sizes.keeps_pixels)
    sizes.output = sizes.pictures.front().reference;
  else if (question.width > 0)
    sizes.output = floor_to_tokens({question.width, question.height});
  else
    sizes.output = floor_to_tokens(size_of_area(area, pictures.back().ratio()));
  return sizes;
}

}  // namespace inkling
