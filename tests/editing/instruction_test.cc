// The held-out instructions: what each has to come out as. instructions_a.tsv was written before the parser,
// instructions_b.tsv after it and before any change made for it.
#include "editing/instruction.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <random>
#include <sstream>

namespace inkling {
namespace {

std::string describe(const Operation& op) {
  const auto dash = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  return fmt::format("{}|{}|{}|{}", edit_kind_name(op.kind), dash(op.target), dash(op.value),
                     op.region ? op.region->name : "-");
}

std::string describe(const Instruction& instruction) {
  std::string result;
  for (const Operation& op : instruction.operations) result += (result.empty() ? "" : " & ") + describe(op);
  return result;
}

std::vector<std::vector<std::string>> read_rows(const std::string& name) {
  std::ifstream file(std::string(INKLING_SOURCE_DIR) + "/tests/editing/data/" + name);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> cells;
    std::stringstream parts(line);
    for (std::string cell; std::getline(parts, cell, '\t');) cells.push_back(cell);
    rows.push_back(cells);
  }
  return rows;
}

// Kind, target, value and region of every operation must fit.
double accuracy(const std::string& name) {
  const auto rows = read_rows(name);
  int right = 0;
  for (const auto& row : rows) {
    if (row.size() != 2) ADD_FAILURE() << name << ": bad row " << (row.empty() ? "" : row[0]);
    const std::string got = describe(parse_instruction(row[0]));
    right += got == row[1];
    if (got != row[1]) fmt::print("  {}\n    wanted {}\n    got    {}\n", row[0], row[1], got);
  }
  fmt::print("{}: {} of {} instructions parsed right ({:.1f} %)\n", name, right, rows.size(),
             100.0 * right / static_cast<double>(rows.size()));
  return right / static_cast<double>(rows.size());
}

TEST(Instruction, HeldOutInstructionsParseRight) {
  EXPECT_GE(read_rows("instructions_a.tsv").size() + read_rows("instructions_b.tsv").size(), 150U);
  EXPECT_GE(accuracy("instructions_a.tsv"), 0.9);
  EXPECT_GE(accuracy("instructions_b.tsv"), 0.9);
}

bool fits_one(const std::string& alternatives, const std::string& got) {
  std::stringstream parts(alternatives);
  for (std::string part; std::getline(parts, part, '/');)
    if (part == got) return true;
  return false;
}

std::vector<std::string> split(const std::string& text, const std::string& joint) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(joint, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + joint.size();
  }
}

// Each of kind, target, value, region is one of the alternatives.
bool fits(const std::string& wanted, const std::string& got) {
  const auto a = split(wanted, " & "), b = split(got, " & ");
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto x = split(a[i], "|"), y = split(b[i], "|");
    if (x.size() != 4 || y.size() != 4) return false;
    for (size_t k = 0; k < 4; ++k)
      if (!fits_one(x[k], y[k])) return false;
  }
  return true;
}

TEST(Instruction, TemplatesOfTheShippedModelAllParse) {
  const auto rows = read_rows("world_edits.tsv");
  EXPECT_GE(rows.size(), 1000U);
  int wrong = 0;
  for (const auto& row : rows) {
    const std::string got = describe(parse_instruction(row[0]));
    if (fits(row[1], got)) continue;
    if (++wrong <= 20) ADD_FAILURE() << row[0] << "\n  wanted " << row[1] << "\n  got    " << got;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Instruction, ParaphrasesAndTranslationsShareAKey) {
  const auto rows = read_rows("same.tsv");
  EXPECT_GE(rows.size(), 60U);
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 2U) << row[0];
    EXPECT_EQ(parse_instruction(row[0]).key, parse_instruction(row[1]).key) << row[0] << " / " << row[1];
  }
}

TEST(Instruction, DifferentWishesHaveDifferentKeys) {
  const auto rows = read_rows("different.tsv");
  EXPECT_GE(rows.size(), 60U);
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 2U) << row[0];
    EXPECT_NE(parse_instruction(row[0]).key, parse_instruction(row[1]).key) << row[0] << " / " << row[1];
  }
}

// Held-out instructions with different operations never share a key.
TEST(Instruction, KeysTellAllHeldOutInstructionsApart) {
  std::map<std::string, std::string> meanings;
  for (const auto* name : {"instructions_a.tsv", "instructions_b.tsv", "world_edits.tsv"})
    for (const auto& row : read_rows(name)) {
      const Instruction parsed = parse_instruction(row[0]);
      if (parsed.key.starts_with("text:")) continue;
      const auto [place, added] = meanings.emplace(parsed.key, describe(parsed));
      // Operations that do not touch each other may come in any order.
      const bool alone = !added && parsed.operations.size() == 1;
      EXPECT_EQ(alone ? place->second : "", alone ? describe(parsed) : "") << row[0];
    }
  EXPECT_GE(meanings.size(), 500U);
}

TEST(Instruction, WhatMustStayIsSaid) {
  const Instruction zh = parse_instruction("不要改变背景只把鸭子变成绿色");
  EXPECT_EQ(zh.kept, std::vector<std::string>{"background"});
  EXPECT_EQ(describe(zh), "recolor|duck|green|-");
  const Instruction en = parse_instruction("Turn the duck green without changing the background");
  EXPECT_EQ(en.kept, zh.kept);
  EXPECT_EQ(en.key, zh.key);
  EXPECT_EQ(parse_instruction("do not remove the hat").operations.size(), 0U);
  EXPECT_EQ(parse_instruction("不要去掉帽子").operations.size(), 0U);
  EXPECT_NE(parse_instruction("不要去掉帽子").key, parse_instruction("去掉帽子").key);
}

TEST(Instruction, EmptyAndTooLongComeOutWithAWarning) {
  for (const std::string& text : {std::string(), std::string("  。 "), std::string(kMaxInstructionBytes + 1, 'x')}) {
    const Instruction parsed = parse_instruction(text);
    EXPECT_TRUE(parsed.operations.empty());
    EXPECT_FALSE(parsed.warnings.empty());
  }
}

TEST(Instruction, QuotedTextKeepsItsLettersAndSigns) {
  const Instruction parsed = parse_instruction("change the text \"Ａ & b|c\" to 'It's NEW'");
  ASSERT_EQ(parsed.operations.size(), 1U);
  EXPECT_EQ(parsed.operations[0].target, "Ａ & b|c");
  EXPECT_EQ(parsed.operations[0].value, "It's NEW");
  EXPECT_NE(parse_instruction("make the label say HOT").key, parse_instruction("make the label say hot").key);
}

// Pieces of instructions and of Unicode in any order: no exception, bounded time.
TEST(Instruction, SurvivesAnyText) {
  const std::vector<std::string> pieces = {"把",
                                           "帽子",
                                           "换成",
                                           "red",
                                           " the ",
                                           "make ",
                                           "\"",
                                           "“",
                                           "”",
                                           ",",
                                           "和",
                                           " and ",
                                           "不要",
                                           "\xff",
                                           "\xe4\xbd",
                                           "的",
                                           "左上角",
                                           "'s ",
                                           " to ",
                                           "变成",
                                           "\xF0\x9F\x90\xB1",
                                           "1:1",
                                           "\0",
                                           "\xEE\x80\x80",
                                           "背景",
                                           " in the top right corner"};
  std::mt19937 random(1);
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < 400; ++round) {
    std::string text;
    const auto count = random() % (round % 40 == 0 ? 2000 : 30);
    for (unsigned i = 0; i < count; ++i) text += pieces[random() % pieces.size()];
    EXPECT_NO_THROW(parse_instruction(text));
  }
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 60);
  fmt::print("random texts: {:.1f} ms each\n", seconds / 400 * 1000);
}

}  // namespace
}  // namespace inkling
