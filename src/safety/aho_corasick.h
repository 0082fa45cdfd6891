// Aho-Corasick over code points: every occurrence of every pattern in one pass (Aho and Corasick, CACM 18(6), 1975).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace inkling {

class AhoCorasick {
 public:
  struct Hit {
    uint32_t pattern;  // its place in the constructor's list
    uint32_t end;      // position behind its last character
  };

  AhoCorasick() : AhoCorasick(std::vector<std::u32string_view>{}) {}
  // Empty patterns never match; equal patterns are all reported.
  explicit AhoCorasick(const std::vector<std::u32string_view>& patterns);

  // Feeds one character: the state after it. The start is state 0.
  uint32_t next(uint32_t state, char32_t c) const;
  // Calls visit(pattern) for every pattern that ends in `state`.
  template <typename Visit>
  void matches(uint32_t state, Visit&& visit) const {
    for (uint32_t s = nodes_[state].first_match != kNone ? state : nodes_[state].report; s != kNone;
         s = nodes_[s].report)
      for (uint32_t p = nodes_[s].first_match; p != kNone; p = same_[p]) visit(p);
  }
  std::vector<Hit> find(std::u32string_view text) const;

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  struct Node {
    uint32_t fail = 0;
    uint32_t first_match = kNone;  // a pattern that ends here
    uint32_t report = kNone;       // nearest node along the fail links where one ends
  };
  // Edges (state, character) -> state in one open-addressed table: at a load of at most a half a look-up costs
  // about one cache miss, and 20,000 patterns of Han characters need no 20,000-way nodes.
  struct Edge {
    uint64_t key = ~0ull;
    uint32_t to = 0;
  };
  static uint64_t key_of(uint32_t state, char32_t c) { return static_cast<uint64_t>(state) << 21 | c; }
  uint32_t edge(uint32_t state, char32_t c) const;
  void add_edge(uint32_t state, char32_t c, uint32_t to);
  void link(const std::vector<uint32_t>& parents, const std::vector<char32_t>& characters);

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<uint32_t> same_;  // next pattern that ends in the same node
};

}  // namespace inkling
