// How long a wish will take: seeded by the config, then learned from what was drawn.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "server/policy/config.h"

namespace inkling::server {

struct JobShape {
  bool edit = false;
  int width = 0, height = 0, steps = 0;  // 0: the model's default
  int n = 1;
  int references = 0;  // pictures given to an edit
  std::string model{};
  int passes = 0;  // forwards a step: 2 with guidance; 0: the model's default
};

class ServiceTimes {
 public:
  explicit ServiceTimes(std::vector<ModelEntry> models);

  // Seconds of the whole wish on one idle device. An unknown model is taken for the first one.
  double estimate(const JobShape& shape) const;
  // Values that are no finite positive number are ignored: a clock or a message was wrong.
  void observe(const JobShape& shape, double seconds);
  void observe_step(const std::string& model, double seconds);
  // Seconds a denoising step usually takes, whatever the size that was asked for lately.
  double step_seconds(const std::string& model) const;

 private:
  struct Class {
    std::string model;
    bool edit;
    int size;  // log2 of the pixels: attention makes a pixel of a large picture dearer
    bool operator<(const Class& o) const { return std::tie(model, edit, size) < std::tie(o.model, o.edit, o.size); }
  };
  struct Shape;  // with all defaults filled in
  Shape complete(const JobShape& shape) const;
  double rate(const Shape& shape) const;

  const std::vector<ModelEntry> models_;
  std::map<Class, double> rates_;  // seconds per unit of work
  std::map<std::string, double> steps_;
};

}  // namespace inkling::server
