// Lines of the filter's text files: comments and empty lines skipped, everything else counts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace inkling {

struct DataLine {
  int number = 0;
  std::string_view text;
};
// Throws ModelError when the bytes are not UTF-8 or hold a zero byte.
std::vector<DataLine> data_lines(std::string_view bytes, std::string_view file);
// LEFT=RIGHT as code points, both not empty. Throws ModelError.
std::pair<std::u32string, std::u32string> split_pair(const DataLine& line, std::string_view file);
// Parts between `separator`.
std::vector<std::string_view> split_fields(std::string_view text, char separator);

}  // namespace inkling
