#include "models/json.h"

#include <fstream>
#include <iterator>

namespace inkling {

using nlohmann::json;

json read_json_object(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw ModelError("{}: cannot be opened", file.string());
  return parse_json_object({std::istreambuf_iterator<char>(in), {}}, file.string());
}

json parse_json_object(const std::string& text, const std::string& where) {
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) throw ModelError("{}: is not a JSON object", where);
  return document;
}

JsonFields JsonFields::child_or_self(const char* name) const {
  if (!has(name)) return *this;
  if (!object_[name].is_object()) fail(name, object_[name].dump(), "an object");
  return {object_[name], where_ + ": " + name};
}

void JsonFields::fail(const std::string& name, const std::string& got, const std::string& expected) const {
  throw ModelError("{}: {} is {}, expected {}", where_, name, got, expected);
}

namespace {
bool within(const json& value, int64_t low, int64_t high) {
  return value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) &&
         value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}
bool within(const json& value, float low, float high) {
  return value.is_number() && value.get<double>() >= low && value.get<double>() <= high;
}
template <typename T>
std::string range(T low, T high) {
  return fmt::format("{}..{}", low, high);
}
}  // namespace

void JsonFields::read(const char* name, int64_t& value, int64_t low, int64_t high) const {
  if (!has(name)) return;
  if (!within(raw(name), low, high)) fail(name, raw(name).dump(), "an integer in " + range(low, high));
  value = raw(name).get<int64_t>();
}

void JsonFields::read(const char* name, float& value, float low, float high) const {
  if (!has(name)) return;
  if (!within(raw(name), low, high)) fail(name, raw(name).dump(), "a number in " + range(low, high));
  value = raw(name).get<float>();
}

void JsonFields::read(const char* name, bool& value) const {
  if (!has(name)) return;
  if (!raw(name).is_boolean()) fail(name, raw(name).dump(), "true or false");
  value = raw(name).get<bool>();
}

void JsonFields::read(const char* name, std::string& value) const {
  if (!has(name)) return;
  if (!raw(name).is_string()) fail(name, raw(name).dump(), "a string");
  value = raw(name).get<std::string>();
}

namespace {
template <typename T>
void read_list(const JsonFields& fields, const char* name, std::vector<T>& values, size_t low_count, size_t high_count,
               T low, T high) {
  if (!fields.has(name)) return;
  const json& list = fields.raw(name);
  if (!list.is_array() || list.size() < low_count || list.size() > high_count)
    fields.fail(name, list.is_array() ? fmt::format("a list of {}", list.size()) : list.dump(),
                "a list of " + range(low_count, high_count) + " numbers");
  std::vector<T> read;
  for (const json& item : list) {
    if (!within(item, low, high))
      fields.fail(fmt::format("{}[{}]", name, read.size()), item.dump(), "a number in " + range(low, high));
    read.push_back(item.get<T>());
  }
  values = std::move(read);
}
}  // namespace

void JsonFields::read(const char* name, std::vector<int64_t>& values, size_t low_count, size_t high_count, int64_t low,
                      int64_t high) const {
  read_list(*this, name, values, low_count, high_count, low, high);
}

void JsonFields::read(const char* name, std::vector<float>& values, size_t low_count, size_t high_count, float low,
                      float high) const {
  read_list(*this, name, values, low_count, high_count, low, high);
}

void JsonFields::require(const char* name, const json& expected) const {
  if (has(name) && raw(name) != expected) fail(name, raw(name).dump(), expected.dump());
}

}  // namespace inkling
