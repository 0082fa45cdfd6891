#include "safety/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "safety/data_text.h"
#include "safety/evasions.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

struct Line {
  std::string split, kind, language, text;
};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ArgumentError("{}: cannot be read", path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Line> read_set(const fs::path& path) {
  const std::string bytes = read_file(path);
  std::vector<Line> lines;
  for (const DataLine& line : data_lines(bytes, path.filename().string())) {
    const auto f = split_fields(line.text, '\t');
    if (f.size() != 4 || (f[0] != "dev" && f[0] != "held-out") || (f[2] != "zh" && f[2] != "en"))
      throw ArgumentError("{}:{}: expected dev|held-out, class, zh|en, text", path.string(), line.number);
    lines.push_back({std::string(f[0]), std::string(f[1]), std::string(f[2]), std::string(f[3])});
  }
  if (lines.empty()) throw ArgumentError("{}: holds no texts", path.string());
  return lines;
}

void count(SafetyShare& share, bool blocked) {
  ++share.total;
  share.blocked += blocked ? 1 : 0;
}

}  // namespace

double SafetyReport::worst_drop() const {
  double worst = 0;
  for (const auto& [kind, e] : evasions) worst = std::max(worst, e.drop());
  return worst;
}

bool SafetyReport::good() const {
  return block.rate() >= kLeastRecall && pass.rate() <= kMostFalseBlocks && worst_drop() <= kMostDrop;
}

SafetyReport measure_safety(const SafetyFilter& filter, const fs::path& folder) {
  const std::vector<Line> block = read_set(folder / "block.tsv"), pass = read_set(folder / "pass.tsv");
  std::string splits;
  for (const EmbeddedFile& f : embedded_safety())
    if (f.path == "split.txt") splits = f.bytes;
  const Evasions evasions(read_file(folder / "mixed.tsv"), splits);
  SafetyReport report;
  const auto disguise = [&](const Line& line, auto&& use) {
    for (const std::string& kind : Evasions::kinds())
      if (const auto text = evasions.disguise(line.text, kind)) use(report.evasions[kind], *text, kind);
  };
  for (const Line& line : block) {
    const SafetyVerdict verdict = filter.check_text(line.text);
    count(report.block, verdict.blocked);
    for (const std::string& key : {line.split, line.language, line.kind, line.split + " " + line.language})
      count(report.block_by[key], verdict.blocked);
    if (verdict.blocked) ++report.layers[std::string(name(verdict.layer))];
    const bool dev = line.split == "dev";
    if (dev && !verdict.blocked)
      report.dev_errors.push_back(fmt::format("missed ({:.2f}): {}", verdict.score, line.text));
    disguise(line, [&](SafetyReport::Evasion& e, const std::string& text, const std::string& kind) {
      const bool blocked = filter.check_text(text).blocked;
      count(e.plain, verdict.blocked);
      count(e.disguised, blocked);
      if (dev && verdict.blocked && !blocked) report.dev_errors.push_back(fmt::format("missed as {}: {}", kind, text));
    });
  }
  for (const Line& line : pass) {
    const SafetyVerdict verdict = filter.check_text(line.text);
    count(report.pass, verdict.blocked);
    for (const std::string& key : {line.split, line.language, line.kind, line.split + " " + line.language})
      count(report.pass_by[key], verdict.blocked);
    if (verdict.blocked && line.split == "dev")
      report.dev_errors.push_back(fmt::format("false block ({}, {}, {:.2f}): {}", name(verdict.layer), verdict.category,
                                              verdict.score, line.text));
    disguise(line, [&](SafetyReport::Evasion& e, const std::string& text, const std::string&) {
      count(e.innocent, filter.check_text(text).blocked);
    });
  }
  return report;
}

std::string format_report(const SafetyReport& report) {
  std::string out;
  const auto to = std::back_inserter(out);
  const auto percent = [](const SafetyShare& s) {
    return fmt::format("{:6.1f} %  {:>4} of {:<4}", 100 * s.rate(), s.blocked, s.total);
  };
  fmt::format_to(to, "{:<18} {:<24} {}\n", "must block", "recall", "");
  fmt::format_to(to, "{:<18} {}\n", "all", percent(report.block));
  for (const auto& [key, share] : report.block_by) fmt::format_to(to, "{:<18} {}\n", key, percent(share));
  fmt::format_to(to, "\n{:<18} {:<24}\n", "must pass", "false blocks");
  fmt::format_to(to, "{:<18} {}\n", "all", percent(report.pass));
  for (const auto& [key, share] : report.pass_by) fmt::format_to(to, "{:<18} {}\n", key, percent(share));
  fmt::format_to(to, "\n{:<18} {:<24} {:<13} {}\n", "disguise", "recall", "drop, points", "false blocks (not gated)");
  for (const auto& [kind, e] : report.evasions)
    fmt::format_to(to, "{:<18} {:<24} {:<13.1f} {}\n", kind, percent(e.disguised), 100 * e.drop(), percent(e.innocent));
  fmt::format_to(to, "\nblocked by:");
  for (const auto& [layer, n] : report.layers) fmt::format_to(to, " {} {}", layer, n);
  fmt::format_to(to,
                 "\ngate: recall {:.1f} % (>= {:.0f}), false blocks {:.2f} % (<= {:.0f}), worst drop {:.1f} points (<= "
                 "{:.0f}): {}\n",
                 100 * report.block.rate(), 100 * SafetyReport::kLeastRecall, 100 * report.pass.rate(),
                 100 * SafetyReport::kMostFalseBlocks, 100 * report.worst_drop(), 100 * SafetyReport::kMostDrop,
                 report.good() ? "passed" : "FAILED");
  return out;
}

}  // namespace inkling
