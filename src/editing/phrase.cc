#include "editing/phrase.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/unicode.h"

namespace inkling {

namespace {

bool cut_front(std::string_view& text, std::string_view front) {
  if (!text.starts_with(front)) return false;
  text.remove_prefix(front.size());
  return true;
}
bool cut_back(std::string_view& text, std::string_view back) {
  if (!text.ends_with(back)) return false;
  text.remove_suffix(back.size());
  return true;
}
void trim(std::string_view& text) {
  while (cut_front(text, " ") || cut_front(text, ",")) {
  }
  while (cut_back(text, " ") || cut_back(text, ",")) {
  }
}

constexpr std::string_view kArticles[] = {
    "the ", "a pair of ", "pair of ", "an ",    "a ",   "some ", "this ", "that ", "my ",  "its ",
    "his ", "her ",       "these ",   "those ", "one ", "those", "一个",  "一顶",  "一副", "一条",
    "一朵", "一件",       "一只",     "一双",   "一枚", "一张",  "一把",  "一颗",  "一块", "一行",
    "一些", "一束",       "一对",     "一本",   "一辆", "一棵",  "一位",  "一",    "这个", "那个",
    "这只", "那只",       "这些",     "那些",   "它的", "个",    "条",    "顶",    "只"};
constexpr std::string_view kAll[] = {"all of the ", "all the ", "all ", "every ", "所有的", "所有", "全部的", "全部"};
constexpr std::string_view kInPicture[] = {
    " in the picture", " in the image",   " in the photo",   " from the picture", " from the image",
    " from the photo", " of the picture", " of the image",   " of the photo",     " in this picture",
    " in this image",  " in this photo",  " on the picture", " on the image",     " on the photo"};
constexpr std::string_view kPictureZh[] = {"图片", "画面", "照片", "图像", "这张图", "图"};
constexpr std::string_view kOnBody[] = {"头上的", "身上的", "脖子上的", "手上的", "手里的", "脸上的"};

struct PictureName {
  std::string_view name;
  int picture;
};
constexpr PictureName kPictures[] = {{"the second picture", 2},
                                     {"the second image", 2},
                                     {"the second photo", 2},
                                     {"second picture", 2},
                                     {"second image", 2},
                                     {"picture 2", 2},
                                     {"image 2", 2},
                                     {"photo 2", 2},
                                     {"the other picture", 2},
                                     {"the other image", 2},
                                     {"the third picture", 3},
                                     {"the third image", 3},
                                     {"picture 3", 3},
                                     {"image 3", 3},
                                     {"第二张图片", 2},
                                     {"第二张照片", 2},
                                     {"第二张图", 2},
                                     {"第2张图片", 2},
                                     {"第2张图", 2},
                                     {"第二幅图", 2},
                                     {"第二张", 2},
                                     {"图片2", 2},
                                     {"图2", 2},
                                     {"图二", 2},
                                     {"第三张图片", 3},
                                     {"第三张照片", 3},
                                     {"第三张图", 3},
                                     {"第3张图", 3},
                                     {"图3", 3},
                                     {"图三", 3},
                                     {"另一张图片", 2},
                                     {"另一张图", 2}};

// Finds "of the second picture" anywhere and cuts it out.
int take_picture(std::string& lower, std::string& raw) {
  for (const PictureName& row : kPictures) {
    const size_t found = lower.find(row.name);
    if (found == std::string::npos) continue;
    size_t begin = found, end = found + row.name.size();
    for (const std::string_view before : {"from ", "in ", "of ", "on ", "用"})
      if (begin >= before.size() && std::string_view(lower).substr(begin - before.size(), before.size()) == before) {
        begin -= before.size();
        break;
      }
    for (const std::string_view after : {"里面的", "里的", "中的", "上的", "里面", "里", "中", "上", "的", "'s "})
      if (std::string_view(lower).substr(end).starts_with(after)) {
        end += after.size();
        break;
      }
    lower.erase(begin, end - begin);
    raw.erase(begin, end - begin);
    return row.picture;
  }
  return 0;
}

// Longest region at the front of Chinese text, or at the end of English text after a preposition.
std::optional<Region> take_region(std::string_view& text) {
  std::string_view rest = text;
  for (const auto name : kInPicture) cut_back(rest, name);
  // Chinese, at the front: (图片)右上角的
  std::string_view front = rest;
  (void)(cut_front(front, "位于") || cut_front(front, "在"));
  for (const auto name : kPictureZh)
    if (cut_front(front, name)) {
      (void)(cut_front(front, "的"));
      break;
    }
  for (const size_t length : {18U, 15U, 12U, 9U, 6U}) {
    if (front.size() < length) continue;
    if (const auto region = find_region(front.substr(0, length))) {
      front.remove_prefix(length);
      if (cut_front(front, "位置") || cut_front(front, "区域")) {
      }
      (void)(cut_front(front, "的") || cut_front(front, "里的") || cut_front(front, "处的"));
      text = front;
      return region;
    }
  }
  // English, at the end: in the top right corner
  for (size_t at = rest.rfind(' '); at != std::string_view::npos && at > 0; at = rest.rfind(' ', at - 1)) {
    const std::string_view region_text = without_articles(rest.substr(at + 1));
    std::string_view before = rest.substr(0, at);
    const auto region = find_region(region_text);
    if (!region) continue;
    (void)cut_back(before, " the");
    for (const std::string_view preposition : {"in", "at", "on", "from", "to", "of", "into", "near", "off"}) {
      if (before == preposition)
        before = {};
      else if (!before.ends_with(preposition) || before.size() <= preposition.size() ||
               before[before.size() - preposition.size() - 1] != ' ')
        continue;
      else
        before.remove_suffix(preposition.size() + 1);
      text = before;
      return region;
    }
  }
  // English, at the front: top right label, left half (of the picture)
  const std::string_view bare = without_articles(rest);
  for (size_t end = bare.size(); end != std::string_view::npos && end > 0; end = bare.rfind(' ', end - 1)) {
    if (const auto region = find_region(bare.substr(0, end))) {
      std::string_view after = bare.substr(end);
      trim(after);
      text = after;
      return region;
    }
    if (end == 0) break;
  }
  return std::nullopt;
}

bool negated(std::string_view text) {
  for (const std::string_view word :
       {"不", "别", "勿", "没", "除了", "以外", "之外", "except", "without", "not ", "n't", "never", "but "})
    if (text.find(word) != std::string_view::npos) return true;
  return false;
}

// Noun, with colour before it. Fills known.
void parse_core(std::string_view raw, std::string_view lower, Phrase& phrase) {
  const auto set = [&](const Noun& noun) {
    phrase.noun = noun.name;
    phrase.kind = noun.kind;
    phrase.sense = noun.sense;
    phrase.plural = noun.plural;
  };
  if (const auto noun = find_noun(lower)) {
    set(*noun);
    phrase.known = true;
    return;
  }
  // Colour, then noun; the longest noun that leaves a colour wins.
  for (size_t at = 0; at < lower.size();) {
    next_code_point(lower, at);
    std::string_view front = lower.substr(0, at), back = lower.substr(at);
    trim(front);
    trim(back);
    const auto noun = find_noun(without_articles(back));
    const auto color = find_color(front);
    if (noun && color) {
      set(*noun);
      phrase.color = *color;
      phrase.known = true;
      return;
    }
  }
  phrase.known = false;
  phrase.noun = raw;
  if (negated(lower)) return;
  // Unknown words before a known one: the head of the phrase is the target all the same.
  for (size_t at = 0; at < lower.size();) {
    next_code_point(lower, at);
    if (at >= lower.size()) break;
    const bool chinese = static_cast<uint8_t>(lower[at]) >= 0x80;
    if (!chinese && lower[at - 1] != ' ') continue;
    if (const auto noun = find_noun(lower.substr(at)); noun && lower.size() - at >= (chinese ? 6 : 3)) {
      set(*noun);
      return;
    }
  }
}

}  // namespace

std::string_view without_articles(std::string_view text) {
  trim(text);
  for (bool again = true; again;) {
    again = false;
    if (find_noun(text)) return text;
    for (const auto article : kArticles)
      if (text.size() > article.size() && cut_front(text, article)) {
        again = true;
        break;
      }
  }
  return text;
}

std::string_view without_degree(std::string_view phrase) {
  trim(phrase);
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view word : {"稍微", "略微", "a bit ", "a little ", "slightly ", "a little bit "})
      again |= cut_front(phrase, word);
    for (const std::string_view word : {"一点点", "一点", "一些", "点", " a bit", " a little", " slightly"})
      again |= phrase.size() > word.size() && cut_back(phrase, word);
  }
  return phrase;
}

std::string Phrase::text() const {
  std::string result = color;
  if (!color.empty() && !noun.empty()) result += ' ';
  result += noun;
  if (quoted) result = fmt::format("{}{}\"{}\"", result, result.empty() ? "" : " ", quote);
  return picture == 0 ? result : fmt::format("picture_{}{}{}", picture, result.empty() ? "" : ":", result);
}

std::string Phrase::key() const {
  std::string result = text();
  if (sense != 0) result += fmt::format("#{}", sense + 1);
  if (plural) result += '+';
  return all ? fmt::format("all {}", result) : result;
}

std::string Phrase::full_key() const {
  std::string result = key();
  if (region) result += fmt::format("@{}", region->name);
  if (!owner.empty()) result += fmt::format("^{}", owner);
  return result;
}

Phrase parse_phrase(std::string_view raw_view, std::string_view lower_view, const std::vector<std::string>& quotes) {
  Phrase phrase;
  std::string raw(raw_view), lower(lower_view);
  phrase.picture = take_picture(lower, raw);
  std::string_view text = lower;
  trim(text);
  // Quotes: the first one is the phrase's text.
  std::string without;
  for (size_t i = 0; i < text.size();) {
    const int quote = quote_at(text, i);
    if (quote < 0) {
      without += text[i++];
      continue;
    }
    if (!phrase.quoted && static_cast<size_t>(quote) < quotes.size()) phrase.quote = quotes[static_cast<size_t>(quote)];
    phrase.quoted = true;
    i += kQuoteMarkBytes;
  }
  std::string_view rest = without;
  trim(rest);
  for (const auto name : kInPicture) cut_back(rest, name);
  for (const auto word : kAll)
    if (cut_front(rest, word)) phrase.all = true;
  for (const auto name : {"图片中的", "图片里的", "图片上的", "图中的", "图里的", "图上的", "照片里的", "照片中的",
                          "照片上的", "画面中的", "画面里的", "画面上的", "图片的"})
    cut_front(rest, name);
  phrase.region = take_region(rest);
  trim(rest);
  if (phrase.region && rest.empty() && !phrase.quoted) {
    phrase.known = true;
    phrase.kind = NounClass::whole;
    return phrase;
  }
  cut_front(rest, "的");
  for (const auto word : kAll)
    if (cut_front(rest, word)) phrase.all = true;
  rest = without_articles(rest);
  if (!find_noun(rest))
    while (cut_back(rest, "的")) {
    }
  // 标签文字, "label text": the text of the label
  for (const std::string_view text : {"文字", "文本", " text"})
    if (std::string_view carrier = rest; cut_back(carrier, text) && !carrier.empty()) {
      const auto noun = find_noun(carrier);
      if (!noun || noun->kind != NounClass::carrier) continue;
      phrase.owner = noun->name;
      rest.remove_prefix(carrier.size());
      trim(rest);
    }
  // Whose: 小猫(头上)的帽子, the cat's hat, the hat of the cat.
  const auto owner = [&](std::string_view who, std::string_view what) {
    const auto noun = find_noun(without_articles(who));
    if (!noun || what.empty()) return false;
    if (noun->kind != NounClass::whole) phrase.owner = noun->name;
    rest = without_articles(what);
    return true;
  };
  for (const auto body : kOnBody)
    if (const size_t at = rest.find(body); at != std::string_view::npos) {
      if (at == 0)
        rest.remove_prefix(body.size());
      else
        owner(rest.substr(0, at), rest.substr(at + body.size()));
      break;
    }
  if (const size_t at = rest.find("的"); at != std::string_view::npos) {
    if (!owner(rest.substr(0, at), rest.substr(at + 3)))
      for (const std::string_view on : {"上", "里", "中"}) {
        std::string_view who = rest.substr(0, at);
        if (cut_back(who, on) && owner(who, rest.substr(at + 3))) break;
      }
  } else if (const size_t on = rest.find("上");
             on != std::string_view::npos && phrase.quoted && on + 3 == rest.size()) {
    owner(rest.substr(0, on), "");
  }
  for (const std::string_view joint : {"'s "})
    if (const size_t at = rest.find(joint); at != std::string_view::npos)
      owner(rest.substr(0, at), rest.substr(at + joint.size()));
  for (const std::string_view joint : {" of ", " on ", " from ", " in "})
    if (const size_t at = rest.find(joint);
        at != std::string_view::npos && owner(rest.substr(at + joint.size()), rest.substr(0, at)))
      break;
  trim(rest);
  if (phrase.quoted && (rest == "的" || rest == "上的" || rest.empty())) {
    phrase.known = true;
    phrase.kind = NounClass::lettering;
    return phrase;
  }
  if (phrase.quoted) {  // 标签上的“新品”: the carrier is the owner of the text
    std::string_view carrier = rest;
    (void)(cut_back(carrier, "上的") || cut_back(carrier, "上") || cut_back(carrier, " that says") ||
           cut_back(carrier, " saying") || cut_back(carrier, " with") || cut_back(carrier, " reading"));
    if (carrier.size() < rest.size()) rest = carrier;
  }
  if (rest.empty()) {
    phrase.known = phrase.picture != 0;
    return phrase;
  }
  // The user's own spelling of what is left.
  const size_t at = lower.find(rest);
  parse_core(at == std::string::npos ? rest : std::string_view(raw).substr(at, rest.size()), rest, phrase);
  if (negated(rest)) phrase.known = false;
  return phrase;
}

std::vector<Phrase> parse_phrases(std::string_view raw, std::string_view lower,
                                  const std::vector<std::string>& quotes) {
  const Phrase whole = parse_phrase(raw, lower, quotes);
  if (whole.known) return {whole};
  std::vector<Phrase> parts;
  for (size_t begin = 0; begin < lower.size();) {
    size_t end = lower.size(), next = end;
    for (const std::string_view joint : {" and ", "和", "跟", "与", "以及", "、", ",", "还有", "及"})
      if (const size_t at = lower.find(joint, begin); at != std::string_view::npos && at < end)
        end = at, next = at + joint.size();
    if (end > begin) {
      Phrase part = parse_phrase(raw.substr(begin, end - begin), lower.substr(begin, end - begin), quotes);
      if (!part.known) return {whole};
      if (!part.empty()) parts.push_back(std::move(part));
    }
    begin = next;
  }
  if (parts.size() < 2) return {whole};
  return parts;
}

}  // namespace inkling
