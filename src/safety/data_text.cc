#include "safety/data_text.h"

#include "base/error.h"
#include "formats/utf8.h"
#include "safety/normalize.h"

namespace inkling {

std::vector<std::string_view> split_fields(std::string_view text, char separator) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    fields.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return fields;
    begin = end + 1;
  }
}

std::vector<DataLine> data_lines(std::string_view bytes, std::string_view file) {
  if (!is_utf8(bytes) || bytes.find('\0') != std::string_view::npos)
    throw ModelError("{}: got bytes that are not text, expected UTF-8", file);
  std::vector<DataLine> lines;
  int number = 0;
  for (std::string_view line : split_fields(bytes, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && line[0] != '#') lines.push_back({number, line});
  }
  return lines;
}

std::pair<std::u32string, std::u32string> split_pair(const DataLine& line, std::string_view file) {
  const size_t at = line.text.rfind('=');
  if (at == std::string_view::npos || at == 0 || at + 1 == line.text.size())
    throw ModelError("{}:{}: got '{}', expected LEFT=RIGHT", file, line.number, line.text);
  return {to_utf32(line.text.substr(0, at)), to_utf32(line.text.substr(at + 1))};
}

}  // namespace inkling
