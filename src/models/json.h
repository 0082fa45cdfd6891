// Typed, range-checked reading of a JSON file's fields. Private to src/models: included by .cc files only.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace inkling {

// Throws ModelError when the file cannot be read or is no JSON object.
nlohmann::json read_json_object(const std::filesystem::path& file);
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

// Fields of one object; an absent or null field leaves the default. Errors name file and field.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }
  const nlohmann::json& raw(const char* name) const { return object_.at(name); }
  // The nested object `name`, or this one when it is absent.
  JsonFields child_or_self(const char* name) const;

  void read(const char* name, int64_t& value, int64_t low, int64_t high) const;
  void read(const char* name, float& value, float low, float high) const;
  void read(const char* name, bool& value) const;
  void read(const char* name, std::string& value) const;
  // A list of `low_count`..`high_count` numbers, each within [low, high].
  void read(const char* name, std::vector<int64_t>& values, size_t low_count, size_t high_count, int64_t low,
            int64_t high) const;
  void read(const char* name, std::vector<float>& values, size_t low_count, size_t high_count, float low,
            float high) const;
  // Throws unless the field is absent, null or equal to `expected`.
  void require(const char* name, const nlohmann::json& expected) const;
  // The same, for a field that decides whether the model is of a known kind.
  [[noreturn]] void fail(const std::string& name, const std::string& got, const std::string& expected) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace inkling
