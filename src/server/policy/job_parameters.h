// The part of a wish that the brown-out may change.
#pragma once

#include <string>

namespace inkling::server {

struct JobParameters {
  int steps = 0;              // 0: the model's default
  int width = 0, height = 0;  // 0: the model's default; of an edit: the picture's, which is left alone
  std::string model;          // an id of the config
  bool edit = false;
};

}  // namespace inkling::server
