// Refusals: a friendly sentence and three safe wishes. The pools are small enough to be checked whole by a test.

#include <algorithm>
#include <array>

#include "safety/safety.h"
#include "text/unicode.h"

namespace inkling {

namespace {

using Wishes = std::array<std::string_view, 24>;

constexpr Wishes kChinese = {"黄色的小鸭子戴着红色帽子",
                             "在海边玩球的小狗",
                             "星空下弹吉他的狐狸",
                             "会飞的小象",
                             "熊猫老师在黑板前讲课",
                             "戴着蓝色眼镜的猫头鹰",
                             "在草地上吹泡泡的小兔子",
                             "吃冰淇淋的小恐龙",
                             "在雪地里围着围巾的企鹅",
                             "撑着雨伞的小刺猬",
                             "背着书包的小乌龟",
                             "在森林里看书的小熊",
                             "彩虹下拿着气球的小猪",
                             "在画画的小猴子",
                             "披着红色披风的小狮子",
                             "戴着王冠的小猫",
                             "在睡觉的考拉",
                             "戴着小花的奶牛",
                             "穿着粉色裙子的小绵羊",
                             "在草原上挥手的长颈鹿",
                             "戴着耳机的小老虎",
                             "在彩虹下看书的小鹿",
                             "打着领带的青蛙",
                             "在教室里画画的小老鼠"};
constexpr Wishes kEnglish = {"a yellow duck wearing a red hat",
                             "a puppy playing with a ball at the beach",
                             "a fox playing the guitar under the stars",
                             "a flying elephant",
                             "a panda teaching at a blackboard",
                             "an owl with blue glasses",
                             "a bunny blowing bubbles on a meadow",
                             "a baby dinosaur eating ice cream",
                             "a penguin with a scarf in the snow",
                             "a hedgehog holding an umbrella",
                             "a turtle with a backpack",
                             "a bear reading a book in the forest",
                             "a pig with a balloon under a rainbow",
                             "a monkey painting a picture",
                             "a lion cub with a red cape",
                             "a kitten with a golden crown",
                             "a koala taking a nap",
                             "a cow with a flower",
                             "a lamb in a pink dress",
                             "a giraffe waving hello",
                             "a tiger with headphones",
                             "a fawn reading under a rainbow",
                             "a frog with a necktie",
                             "a mouse painting in a classroom"};

constexpr std::array<std::string_view, 3> kChineseMessages = {"这个我不能画，我们换一个可爱的吧！",
                                                              "这个不适合小朋友哦，试试下面这些吧！",
                                                              "我更喜欢画开心的东西，选一个好不好？"};
constexpr std::array<std::string_view, 3> kEnglishMessages = {
    "I can't draw that one. Let's pick something friendly instead!",
    "That one isn't right for children. How about one of these?",
    "I would rather draw something happy. Would you like one of these?"};

uint64_t mix(uint64_t z) {  // splitmix64
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

}  // namespace

Language language_of(std::string_view utf8) { return has_han(utf8) ? Language::chinese : Language::english; }

std::vector<std::string> all_suggestions(Language language) {
  const Wishes& pool = language == Language::chinese ? kChinese : kEnglish;
  return {pool.begin(), pool.end()};
}

Refusal make_refusal(const SafetyVerdict& verdict, Language language, uint64_t seed) {
  const bool chinese = language == Language::chinese;
  const Wishes& pool = chinese ? kChinese : kEnglish;
  const auto& messages = chinese ? kChineseMessages : kEnglishMessages;
  Refusal refusal;
  if (verdict.category == "self_harm") {  // someone may mean it
    refusal.message =
        chinese
            ? "如果你心里难过，请告诉爸爸妈妈、老师或你信任的大人。我们来画点温暖的吧！"
            : "If you feel sad, please tell a parent, a teacher or another adult you trust. Let's draw something warm!";
  } else if (verdict.layer == SafetyLayer::error) {
    refusal.message =
        chinese ? "我现在没法检查这句话，换一个试试吧！" : "I could not check that one just now. Please try another!";
  } else {
    refusal.message = messages[mix(seed) % messages.size()];
  }
  // Three different ones: a start and a stride that has no factor in common with 24.
  constexpr std::array<size_t, 7> kStrides = {5, 7, 11, 13, 17, 19, 23};
  const size_t start = mix(seed + 1) % pool.size(), stride = kStrides[mix(seed + 2) % kStrides.size()];
  for (size_t i = 0; i < 3; ++i) refusal.suggestions[i] = pool[(start + i * stride) % pool.size()];
  return refusal;
}

}  // namespace inkling
