// Every option of the program, declared once. A row makes the command-line flag (--cfg-scale), the JSON field
// (cfg_scale), the environment variable (INKLING_CFG_SCALE), the default, the range and the help text.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

// Which commands take an option; bits.
enum OptionScope : unsigned {
  kGenerate = 1u << 0,
  kEdit = 1u << 1,
  kPlan = 1u << 2,
  kSynth = 1u << 3,
  kInspect = 1u << 4,
  kQuantize = 1u << 5,
  kBench = 1u << 6,
  kServe = 1u << 7,
  kWorker = 1u << 8,
  kTop = 1u << 9,
  kPool = 1u << 10,
  kSafety = 1u << 11,
  kDecode = 1u << 12,
  kDraw = kGenerate | kEdit,
};

struct Option {
  enum class Kind { text, integer, real, flag, choice };
  std::string_view name;        // with dashes; JSON and environment names derive from it
  std::string_view short_flag;  // "p" for -p, or empty
  Kind kind = Kind::text;
  unsigned scope = 0;         // OptionScope bits
  std::string_view fallback;  // default as text; empty = the model's own default, or unset
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::string_view choices;  // separated by '|'
  bool repeats = false;      // may be given several times
  std::string_view help;

  std::string json_name() const;         // cfg_scale
  std::string environment_name() const;  // INKLING_CFG_SCALE
};

std::span<const Option> option_table();
const Option& find_option(std::string_view name);  // throws RuntimeError: our own bug

// Values as given, checked when set. All doors (flags, JSON, environment) fill one of these, so that a value is
// judged by the same rule wherever it came from.
class OptionValues {
 public:
  // Throws ArgumentError naming the option, what was given and what is allowed.
  void set(std::string_view name, std::string_view value);
  bool given(std::string_view name) const;  // set explicitly, not by default
  std::string text(std::string_view name) const;
  std::vector<std::string> list(std::string_view name) const;
  // Unset with no default: nullopt.
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<double> real(std::string_view name) const;
  bool flag(std::string_view name) const;

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

// Bytes from "6GiB", "512MiB", "8GB" or a plain number. Throws ArgumentError.
int64_t parse_bytes(std::string_view text);

}  // namespace inkling
