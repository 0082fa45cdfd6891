#include "editing/pattern.h"

#include <algorithm>
#include <span>

#include "editing/lexicon.h"
#include "editing/phrase.h"
#include "text/unicode.h"

namespace inkling {

namespace {

// Elements are separated by spaces: (a|b) one of these, (a|b)? perhaps, %name a class of below, $t a slot; '_' is
// a space within a word. Slots c, a, j, z, k and n match only what the lexicon knows as a colour, an attribute, an
// adjustment, a style, a shape, a thing.
struct PatternRow {
  Act act;
  std::string_view text;
};

struct WordClass {
  std::string_view name, words;
};
constexpr WordClass kClasses[] = {
    {"ba", "把|将|请把|请将|让|使"},
    {"off",
     "去掉|去除|删除|删掉|删去|移除|除去|除掉|清除掉|清除|清掉|消除掉|消除|消掉|抹掉|抹去|擦掉|擦除|拿掉|拿走|拿开|"
     "摘掉|摘下来|摘下|脱掉|"
     "脱下来|脱下|移走|移掉|取掉|取下来|取下|解下|p掉|ps掉|抠掉|弄掉|弄走|去干净|清理掉|删了|去了|撕掉|拆掉|除了去"},
    {"into",
     "变成|改成|换成|改为|换为|变为|染成|涂成|替换成|替换为|刷成|漆成|调成|调整为|调整成|设为|设成|设置为|设置成|转成|"
     "转为|转换成|转换为|"
     "弄成|做成|更换为|更换成|更改为|更改成|修改为|修改成|p成|画成|改造成|改到"},
    {"wear",
     "戴上|戴|穿上|穿|围上|围|系上|系|打上|打|背上|背|披上|披|加上|加|添加|添上|增加|配上|画上|画|放上|别上|插上|贴上|"
     "扎上|拿上|来"},
    {"put", "添加|加上|加入|增加|加|画上|画|放上|放置|放|贴上|写上|写|插入|补上|添上|摆上|来|新增|生成"},
    {"lay", "戴|放|放置|加|贴|围|穿|背|披|系|画|写|添加|摆|插"},
    {"touch", "改变|改动|修改|更改|变动|改|动|碰|影响|触碰|破坏|变"},
    {"body", "的头上|的身上|的脖子上|的手上|的手里|头上|身上|脖子上|手上|手里|脸上|的脸上"},
    {"in", "里面|里边|上面|里|上|中|处"},
    {"up", "提高|增加|增强|加强|调高|加大|提升|增大|提亮"},
    {"down", "降低|减少|减小|调低|减弱|压低"},
    {"cropzh", "裁剪|裁切|剪裁|剪切|裁|截取|缩放|调整尺寸"},
    {"remove",
     "remove|delete|erase|take_away|get_rid_of|take_off|take_out|eliminate|clear|wipe_out|wipe_off|clean_off|strip|cut_"
     "out|edit_out|"
     "photoshop_out|clean_up|crop_out"},
    {"det", "a_pair_of|a|an|the|some|one"},
    {"on", "onto|on_top_of|on|into|in|to|at|around|over"},
    {"paint", "paint|color|colour|recolor|recolour|dye|tint|make|turn"},
    {"turn", "change|turn|convert|transform|alter|modify|switch|set|make|update|edit"},
    {"change", "change|switch|set|alter|modify|make|update|turn"},
    {"swap", "replace|swap|substitute|exchange|change"},
    {"touchen", "change|touch|alter|modify|edit|affect|changing|touching|altering|modifying|editing|affecting"},
    {"raise", "increase|raise|boost|enhance|improve|turn_up|bump_up"},
    {"lower", "decrease|reduce|lower|turn_down|drop"},
    {"colour", "color|colour"},
    {"stay", "unchanged|as_it_is|as_is|the_same|untouched|alone|intact|the_way_it_is|as_before"},
    {"crop", "crop|cut|trim|resize|scale"},
};

constexpr PatternRow kPatterns[] = {
    // What stays.
    {Act::keep, "(保持|保留|维持) $t (不变|不动|原样|一致|原样不变)?"},
    {Act::keep, "(把|让)? $t (保持不变|保持原样|不要变|不要动|不要改|不要改变|不变|别动|不动|不用变|不用改)"},
    {Act::keep, "(keep|preserve|retain|leave) $t %stay"},
    {Act::keep, "(keep|preserve|retain|leave) $t"},
    {Act::keep, "without %touchen $t"},
    {Act::keep, "$t (stays|stay|remains|remain|must_stay|should_stay) %stay"},
    // Adjustments.
    {Act::raise, "%ba $t 的? $a %up"},
    {Act::raise, "%ba? $a %up"},
    {Act::raise, "%up $t 的 $a"},
    {Act::raise, "%up $a"},
    {Act::lower, "%ba $t 的? $a %down"},
    {Act::lower, "%ba? $a %down"},
    {Act::lower, "%down $t 的 $a"},
    {Act::lower, "%down $a"},
    {Act::raise, "%raise the? $a of $t"},
    {Act::raise, "%raise $t 's $a"},
    {Act::raise, "%raise the? $a"},
    {Act::lower, "%lower the? $a of $t"},
    {Act::lower, "%lower the? $a"},
    {Act::adjust, "$j"},
    {Act::adjust, "%ba $t (变得|调得|弄得|调整得|变|弄|调)? $j"},
    {Act::adjust, "$j $t"},
    {Act::adjust, "(make|turn) $t $j"},
    {Act::adjust, "flip $t (horizontally|vertically)"},
    {Act::adjust, "$t $j"},
    // Removal of the background comes out as one.
    {Act::remove, "%ba $t 从 $r (里面|里|上|中|身上|头上) %off"},
    {Act::remove, "从 $r (里面|里|上|中|身上|头上) %off $t"},
    {Act::remove, "%ba $t (都|给|全部|全都)? %off"},
    {Act::remove, "%off $t"},
    {Act::remove, "(不要|不想要|不需要|去) $t"},
    {Act::remove, "抠图"},
    {Act::remove, "take $t off (of|from)? $r"},
    {Act::remove, "take $t (off|away|out)"},
    {Act::remove, "%remove $t (off|from) $r"},
    {Act::remove, "%remove $t"},
    {Act::remove, "(no|no_more|i_do_not_want|i_don't_want) $t"},
    // Crop.
    {Act::crop, "%ba? $t? %cropzh (成|为|到|至) $v"},
    {Act::crop, "%ba? $t %into $k"},
    {Act::crop, "%cropzh (出|下)? $t"},
    {Act::crop, "%crop $t? (to|into|as|down_to) $v"},
    {Act::crop, "make $t $k"},
    {Act::crop, "crop (out)? $t"},
    // Texts.
    {Act::say, "(make|let|have) $t (say|read) $v"},
    {Act::say, "%turn $t (to_say|to_read|so_it_says) $v"},
    {Act::say, "(change|update) what $t says to $v"},
    {Act::say, "%ba $t (上面|里|上)? (写成|写着) $v"},
    // Colours.
    {Act::recolor, "%ba? $t 的? 颜色 %into $c"},
    {Act::recolor, "%ba? $t %into $c"},
    {Act::recolor, "给 $t (涂上|染上|上色成|刷上|换上|换成|改成) $c"},
    {Act::recolor, "(把|将) $t (涂|染|换|变|改|漆|刷) $c"},
    {Act::recolor, "%change the? %colour of $t (to|into|as)? $c"},
    {Act::recolor, "%change $t 's %colour (to|into) $c"},
    {Act::recolor, "%change $t %colour (to|into) $c"},
    {Act::recolor, "%paint $t (in|into|to)? $c"},
    {Act::recolor, "%turn $t (to|into|in) (the_color|the_colour)? $c"},
    {Act::recolor, "$t (should_be|must_be|to_be|becomes|become) $c"},
    {Act::recolor, "i_want $t (to_be|in)? $c"},
    {Act::recolor, "give $t a $c %colour"},
    // Backgrounds.
    {Act::background, "用 $v (作为|当作|做|当|作) (背景|新背景)"},
    {Act::background, "背景 (用|要|是|为|设为) $v"},
    {Act::background, "use $v (as|for) (the|a|its)? (new)? background"},
    {Act::background, "(put|place|set) $t (on|onto|in|into|at|against|in_front_of) (a|an|the)? $c background"},
    {Act::background, "(give|add) $t? (a|an) $c background"},
    {Act::background, "(a|an)? $c background"},
    // Styles.
    {Act::style, "%ba? $t %into $z"},
    {Act::style, "%into $z"},
    {Act::style, "(用|以) $z (重画|画|重新画|绘制|重绘)"},
    {Act::style, "(加|加上|应用|添加) $z"},
    {Act::style, "%turn $t (to|into|in|as)? $z"},
    {Act::style, "(make|let) $t look (like|as) $z"},
    {Act::style, "(redraw|repaint|render|draw|paint|show) $t (in|as) $z"},
    {Act::style, "%turn (to|into) $z"},
    {Act::style, "(apply|use|add) $z"},
    {Act::style, "in $z"},
    // One thing becomes another.
    {Act::into, "用 $v (替换掉|替换|代替|取代|换掉) $t"},
    {Act::into, "%ba $t (都|全部)? %into $v"},
    {Act::into, "$t %into $v"},
    {Act::into, "%into $v"},
    {Act::into, "(替换|更换) $t 为 $v"},
    {Act::into, "(把|将) $t (换|改) $v"},
    // Additions.
    {Act::add, "(给|为|帮|让) $r %body? %wear $v"},
    {Act::add, "(把|将) $v %lay (在|到|给) $r %body"},
    {Act::add, "(把|将) $v %lay (在|到|给) $r %in?"},
    {Act::add, "在 $r %body? %in? %put $v"},
    {Act::add, "(把|将) $v (添加|加上|加进去|放上)"},
    {Act::add, "%put $v"},
    {Act::add, "add $v %on $r"},
    {Act::add, "add $v"},
    {Act::add, "give %det? $n $v"},
    {Act::add, "(put|place|draw|insert|attach|stick|paste|write|hang|print) $v %on $r"},
    {Act::add, "(make|let|have) $r (wear|put_on|hold) $v"},
    {Act::add, "dress $r (in|with|up_in) $v"},
    {Act::add, "decorate $r with $v"},
    {Act::add, "(write|put_on|include|insert|draw) $v"},
    {Act::into, "%swap $t (with|by|for) $v"},
    {Act::into, "put $v (instead_of|in_place_of) $t"},
    {Act::into, "use $v (instead_of|in_place_of) $t"},
    {Act::into, "%turn $t (to|into|in_to|as) $v"},
    {Act::into, "(make|set|have|turn) %det? $n $v"},
    {Act::into, "(make|set) $t $v"},
    {Act::into, "$t (to|should_be|must_be) $v"},
    {Act::other, "%touch $t"},
    {Act::other, "%touchen $t"},
};

constexpr std::string_view kFront[] = {"请你",
                                       "请",
                                       "帮我",
                                       "帮忙",
                                       "麻烦你",
                                       "麻烦",
                                       "给我",
                                       "你能不能",
                                       "你能",
                                       "能不能",
                                       "能否",
                                       "可不可以",
                                       "可以",
                                       "能",
                                       "我想要",
                                       "我想",
                                       "我要",
                                       "我希望",
                                       "希望",
                                       "想",
                                       "然后",
                                       "并且",
                                       "并",
                                       "再",
                                       "接着",
                                       "同时",
                                       "另外",
                                       "还有",
                                       "以及",
                                       "和",
                                       "而且",
                                       "最后",
                                       "之后",
                                       "随后",
                                       "也",
                                       "只需",
                                       "只要",
                                       "只",
                                       "仅仅",
                                       "仅",
                                       "但是",
                                       "但",
                                       "而",
                                       "首先",
                                       "先",
                                       "直接",
                                       "一下",

                                       "please ",
                                       "kindly ",
                                       "can you ",
                                       "could you ",
                                       "would you ",
                                       "will you ",
                                       "i want you to ",
                                       "i would like you to ",
                                       "i'd like you to ",
                                       "i would like to ",
                                       "i'd like to ",
                                       "i want to ",
                                       "help me ",
                                       "just ",
                                       "now ",
                                       "only ",
                                       "and ",
                                       "then ",
                                       "also ",
                                       "but ",
                                       "let's ",
                                       "first ",
                                       "next ",
                                       "finally ",
                                       "simply ",
                                       "while ",
                                       "okay ",
                                       "ok ",
                                       "so ",

                                       ",",
                                       ";",
                                       " ",
                                       "、",
                                       ":"};
constexpr std::string_view kBack[] = {"吧", "一下",    "谢谢你",  "谢谢",       "好吗",    "好不好",   "呢",
                                      "啊", "哦",      "吗",      "即可",       "就行",    "就好",     "可以吗",
                                      "了", " please", " thanks", " thank you", " for me", " instead", " now",
                                      ",",  ";",       " ",       "、",         ".",       "."};
constexpr std::string_view kNegations[] = {
    "请不要", "不要", "请勿", "不可以",  "不能",   "不得",  "不许",   "无需",      "不用",        "不必",
    "别",     "勿",   "不",   "do not ", "don't ", "dont ", "never ", "must not ", "should not ", "no need to "};

struct Element {
  char slot = 0;  // or words
  bool optional = false;
  std::vector<std::string> words;
};
struct Pattern {
  Act act;
  std::vector<Element> elements;
};

std::vector<std::string> split_words(std::string_view list) {
  std::vector<std::string> words;
  for (size_t i = 0; i <= list.size();) {
    const size_t end = std::min(list.find('|', i), list.size());
    std::string word(list.substr(i, end - i));
    std::ranges::replace(word, '_', ' ');
    words.push_back(std::move(word));
    i = end + 1;
  }
  return words;
}

Pattern compile(const PatternRow& row) {
  Pattern pattern{row.act, {}};
  for (size_t i = 0; i < row.text.size();) {
    const size_t end = std::min(row.text.find(' ', i), row.text.size());
    std::string_view token = row.text.substr(i, end - i);
    i = end + 1;
    Element element;
    if (token.ends_with('?')) {
      element.optional = true;
      token.remove_suffix(1);
    }
    if (token.front() == '$') {
      element.slot = token[1];
    } else if (token.front() == '%') {
      const auto found = std::ranges::find(kClasses, token.substr(1), &WordClass::name);
      element.words = split_words(found->words);
    } else if (token.front() == '(') {
      element.words = split_words(token.substr(1, token.size() - 2));
    } else {
      element.words = split_words(token);
    }
    pattern.elements.push_back(std::move(element));
  }
  return pattern;
}

bool is_word_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// "slot of this kind may hold that text"
bool fits(char slot, std::string_view text) {
  switch (slot) {
    case 'c': return find_color(without_articles(text)).has_value();
    case 'a': return find_attribute(text).has_value();
    case 'j':
      // One bare character is no adjustment: 大 alone may be half a word.
      return text.size() > 3 && find_adjustment(without_degree(text)).has_value();
    case 'z': return find_style(text).has_value();
    case 'k': return find_shape(text).has_value();
    case 'n': return find_noun(without_articles(text)).has_value();
    default: return true;
  }
}

class Matcher {
 public:
  Matcher(std::string_view clause, const Pattern& pattern) : clause_(clause), elements_(pattern.elements) {
    match_.act = pattern.act;
  }
  std::optional<Match> run() {
    if (!step(0, 0)) return std::nullopt;
    return match_;
  }

 private:
  // Backtracking over at most this many steps; a clause of 60 characters takes some hundreds.
  static constexpr int kMaxSteps = 20'000;

  bool step(size_t element, size_t position) {
    if (++steps_ > kMaxSteps) return false;
    while (position < clause_.size() && clause_[position] == ' ') ++position;
    if (element == elements_.size()) return position == clause_.size();
    const Element& e = elements_[element];
    if (e.slot != 0) return step_slot(e, element, position);
    for (const std::string& word : e.words) {
      if (!clause_.substr(position).starts_with(word)) continue;
      const size_t end = position + word.size();
      if (is_word_byte(word.front()) && position > 0 && is_word_byte(clause_[position - 1])) continue;
      if (is_word_byte(word.back()) && end < clause_.size() && is_word_byte(clause_[end])) continue;
      if (step(element + 1, end)) return true;
    }
    return e.optional && step(element + 1, position);
  }

  bool step_slot(const Element& e, size_t element, size_t position) {
    Slot& slot = match_.slots[static_cast<size_t>(e.slot - 'a')];
    if (e.optional && step(element + 1, position)) {
      slot = {};
      return true;
    }
    if (e.slot == 'n') return step_longest(slot, element, position);
    for (size_t end = position; end < clause_.size();) {
      next_code_point(clause_, end);
      if (end < clause_.size() && is_word_byte(clause_[end]) && is_word_byte(clause_[end - 1])) continue;
      size_t trimmed = end;
      while (trimmed > position && clause_[trimmed - 1] == ' ') --trimmed;
      if (!fits(e.slot, clause_.substr(position, trimmed - position))) continue;
      if (step(element + 1, end)) {
        slot = {position, trimmed};
        return true;
      }
      if (steps_ > kMaxSteps) return false;
    }
    return false;
  }

  // The longest known thing: "baby giraffe", not "baby".
  bool step_longest(Slot& slot, size_t element, size_t position) {
    constexpr size_t kLongest = 40;  // bytes
    for (size_t end = std::min(clause_.size(), position + kLongest); end > position; --end) {
      if (end < clause_.size() && (is_word_byte(clause_[end]) || (static_cast<uint8_t>(clause_[end]) & 0xC0) == 0x80))
        continue;
      if (!fits('n', clause_.substr(position, end - position)) || !step(element + 1, end)) continue;
      slot = {position, end};
      return true;
    }
    return false;
  }

  std::string_view clause_;
  const std::vector<Element>& elements_;
  Match match_;
  int steps_ = 0;
};

}  // namespace

std::optional<Match> match_clause(std::string_view clause, size_t& from) {
  static const std::vector<Pattern> patterns = [] {
    std::vector<Pattern> all;
    for (const PatternRow& row : kPatterns) all.push_back(compile(row));
    return all;
  }();
  while (from < patterns.size())
    if (auto match = Matcher(clause, patterns[from++]).run()) return match;
  return std::nullopt;
}

void strip_fillers(std::string_view lower, size_t& begin, size_t& end) {
  for (bool again = true; again;) {
    again = false;
    const std::string_view text = lower.substr(begin, end - begin);
    for (const auto filler : kFront)
      if (text.size() >= filler.size() && text.starts_with(filler)) {
        begin += filler.size();
        again = true;
        break;
      }
    if (again) continue;
    for (const auto filler : kBack)
      if (text.ends_with(filler)) {
        end -= filler.size();
        again = true;
        break;
      }
  }
}

std::optional<std::string_view> strip_negation(std::string_view clause) {
  for (const auto negation : kNegations)
    if (clause.size() > negation.size() && clause.starts_with(negation)) return clause.substr(negation.size());
  return std::nullopt;
}

}  // namespace inkling
