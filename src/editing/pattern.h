// The sentences that are understood, as patterns, and how they are matched.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

enum class Act : uint8_t {
  remove,      // t
  add,         // v, perhaps on r
  into,        // t becomes v
  recolor,     // t becomes the colour v
  say,         // the text on t becomes v
  background,  // the background becomes v
  style,       // t in style v
  crop,        // to v, or the part t
  adjust,      // j of t; or attribute a, direction u
  lower,       // attribute a down
  raise,       // attribute a up
  keep,        // t stays
  other,       // t, something
};

// A slot's text is [begin, end) of the clause.
struct Slot {
  size_t begin = 0, end = 0;
  bool empty() const { return end <= begin; }
};
struct Match {
  Act act = Act::other;
  // t target, v value, r receiver, c colour (of into), a attribute, j adjustment, z style, k crop
  std::array<Slot, 26> slots{};
  const Slot& slot(char name) const { return slots[static_cast<size_t>(name - 'a')]; }
};

// The next match of the whole clause (lower case) from pattern `from` on; `from` is moved behind it.
std::optional<Match> match_clause(std::string_view clause, size_t& from);

// Cuts politeness and the like from both ends: [begin, end) becomes what is left.
void strip_fillers(std::string_view lower, size_t& begin, size_t& end);
// The clause without its leading "do not", 不要, ...; nullopt when it has none.
std::optional<std::string_view> strip_negation(std::string_view clause);

}  // namespace inkling
