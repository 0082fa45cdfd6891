#include "editing/history.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace inkling {
namespace {

TEST(History, TreeWithUndoAndBranches) {
  EditHistory history("original.png", 7);
  EXPECT_EQ(history.add("n0", "make the hat red", "a.png", 8), "n1");
  EXPECT_EQ(history.add("n1", "remove the label"), "n2");
  EXPECT_EQ(history.undo().id, "n1");
  EXPECT_EQ(history.add("n1", "make the background white"), "n3");
  EXPECT_EQ(history.head(), "n3");
  EXPECT_EQ(history.node("n3").depth, 2);
  const auto path = history.path("n3");
  ASSERT_EQ(path.size(), 3U);
  EXPECT_EQ(path[0]->picture, "original.png");
  EXPECT_EQ(path[1]->id, "n1");
  history.set_head("n0");
  EXPECT_THROW(history.undo(), ArgumentError);
  EXPECT_THROW(history.add("n9", "x"), ArgumentError);
  EXPECT_THROW(history.add("n0", ""), ArgumentError);
  EXPECT_THROW(history.set_head("nope"), ArgumentError);
}

TEST(History, ALongChainIsRunFromTheOriginal) {
  EditHistory history;
  std::string at = "n0";
  for (const auto* text : {"把帽子改成红色。", "去掉标签"}) at = history.add(at, text);
  EXPECT_FALSE(history.plan(at, "提亮", 3).rerun);
  const EditPlan plan = history.plan(at, "背景换成白色", 2);
  EXPECT_TRUE(plan.rerun);
  EXPECT_EQ(plan.start, "n0");
  EXPECT_EQ(plan.instruction, "把帽子改成红色，然后去掉标签，然后背景换成白色");
  // What was run from the original counts as one run.
  at = history.add(at, "背景换成白色", {}, 0, plan.rerun);
  EXPECT_EQ(history.node(at).depth, 1);
  EXPECT_FALSE(history.plan(at, "锐化", 2).rerun);

  EditHistory english;
  at = english.add(english.add("n0", "Make the hat red."), "remove the label; ");
  EXPECT_EQ(english.plan(at, "brighten", 2).instruction, "Make the hat red, then remove the label, then brighten");
  EXPECT_THROW(english.plan(at, "x", 0), ArgumentError);
  EXPECT_THROW(english.plan(at, std::string(EditHistory::kMaxJoinedBytes, 'x'), 1), ArgumentError);
}

TEST(History, JsonComesBackTheSame) {
  EditHistory history("p0", 5);
  std::string at = "n0";
  for (int i = 0; i < 6; ++i) at = history.add(at, "第" + std::to_string(i) + "步", "p", i, i == 4);
  history.set_head("n2");
  const auto json = history.to_json();
  EXPECT_EQ(EditHistory::from_json(json).to_json(), json);
  EXPECT_EQ(EditHistory::from_json(nlohmann::json::parse(json.dump())).head(), "n2");
  // Every way to damage one field is refused or means the same.
  for (const auto& [path, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"/nodes/0/parent", "n1"},
                                                           {"/nodes/2/parent", "n5"},
                                                           {"/nodes/2/parent", nullptr},
                                                           {"/nodes/2/depth", 7},
                                                           {"/nodes/2/depth", "2"},
                                                           {"/nodes/2/id", "n9"},
                                                           {"/nodes/2/instruction", ""},
                                                           {"/nodes/2/extra", 1},
                                                           {"/nodes/2/created", nullptr},
                                                           {"/head", "n77"},
                                                           {"/head", 1},
                                                           {"/nodes", nlohmann::json::array()},
                                                           {"/extra", 1}}) {
    nlohmann::json damaged = json;
    damaged[nlohmann::json::json_pointer(path)] = value;
    EXPECT_THROW(EditHistory::from_json(damaged), ArgumentError) << path << " " << value;
  }
  EXPECT_THROW(EditHistory::from_json(nullptr), ArgumentError);
}

TEST(History, IsBounded) {
  EditHistory history;
  for (size_t i = 1; i < EditHistory::kMaxNodes; ++i) history.add("n0", "x");
  EXPECT_THROW(history.add("n0", "x"), ArgumentError);
  EXPECT_EQ(history.nodes().size(), EditHistory::kMaxNodes);
}

}  // namespace
}  // namespace inkling
