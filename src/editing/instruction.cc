#include "editing/instruction.h"

#include <algorithm>
#include <set>

#include "editing/lexicon.h"
#include "editing/normal_text.h"
#include "editing/pattern.h"
#include "editing/phrase.h"
#include "text/unicode.h"

namespace inkling {

namespace {

constexpr size_t kMaxClauseBytes = 400;  // no wish is said in a longer one
constexpr size_t kMaxClauses = 32;

struct Parsed {
  std::vector<Operation> operations;
  std::vector<std::string> keys;  // one for each operation
  std::vector<std::string> kept;
  bool certain = true;
  bool empty() const { return operations.empty() && kept.empty(); }
};

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '&' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

Region whole_region(std::string_view name) { return {std::string(name), 0, 0, 1, 1}; }

// "the background to a sky": a slot that swallowed half of the sentence.
bool is_no_target(const Phrase& phrase, std::string_view lower) {
  const bool list = lower.find(" and ") != std::string_view::npos;
  for (const std::string_view word : {" to ", " into ", " with ", "把", "将"})
    if (lower.find(word) != std::string_view::npos) return true;
  if (phrase.known || list) return false;
  return lower.starts_with("background ") || lower.starts_with("the background ");
}

// One clause that a pattern fits: from slots to operations.
class Clause {
 public:
  Clause(const NormalText& text, size_t begin, size_t end)
      : raw_(std::string_view(text.raw).substr(begin, end - begin)),
        lower_(std::string_view(text.lower).substr(begin, end - begin)),
        quotes_(text.quotes) {}

  std::optional<Parsed> parse() {
    if (lower_.empty() || lower_.size() > kMaxClauseBytes) return std::nullopt;
    if (const auto rest = strip_negation(lower_)) {
      const bool unwanted = lower_.starts_with("不要") || lower_.starts_with("don't want ");
      if (auto kept = parse_negated(lower_.size() - rest->size())) return kept;
      if (!unwanted) return std::nullopt;
    }
    for (size_t from = 0; const auto match = match_clause(lower_, from);) {
      Parsed parsed;
      if (resolve(*match, parsed)) return parsed;
    }
    return std::nullopt;
  }

 private:
  std::string_view lower(Slot s) const { return lower_.substr(s.begin, s.end - s.begin); }
  Phrase phrase(Slot s) const { return parse_phrase(raw_.substr(s.begin, s.end - s.begin), lower(s), quotes_); }
  std::vector<Phrase> phrases(Slot s) const {
    return parse_phrases(raw_.substr(s.begin, s.end - s.begin), lower(s), quotes_);
  }
  std::string words(Slot s) const { return with_quotes(raw_.substr(s.begin, s.end - s.begin), quotes_); }

  std::optional<Parsed> parse_negated(size_t skip) {
    const std::string_view raw = raw_.substr(skip), lower = lower_.substr(skip);
    Clause rest(*this);
    rest.raw_ = raw;
    rest.lower_ = lower;
    for (size_t from = 0; const auto match = match_clause(lower, from);) {
      if (match->act == Act::keep || match->act == Act::add) continue;
      const Slot slot = match->slot('t');
      if (slot.empty()) continue;
      Parsed parsed;
      for (const Phrase& p : rest.phrases(slot)) {
        parsed.kept.push_back(p.region || !p.owner.empty() ? p.full_key() : p.text());
        parsed.certain = parsed.certain && p.known && match->act == Act::other;
      }
      return parsed;
    }
    return std::nullopt;
  }

  static void emit(Parsed& out, Operation op, std::string_view target_key, std::string_view value_key, bool certain) {
    std::string key(edit_kind_name(op.kind));
    key += '|' + escaped(target_key) + '|' + escaped(value_key) + '|' + (op.region ? op.region->name : "") + '|' +
           escaped(op.owner);
    out.operations.push_back(std::move(op));
    out.keys.push_back(std::move(key));
    out.certain = out.certain && certain;
  }

  static Operation operation(EditKind kind, const Phrase& target, std::string value) {
    return {kind, target.text(), std::move(value), target.region, target.owner};
  }

  void background(Parsed& out, Slot value) const {
    const std::string_view text = without_articles(lower(value));
    Operation op{EditKind::background, "background", {}, whole_region("background"), {}};
    auto place = find_place(text);
    if (!place) place = find_place(lower(value));
    bool certain = place.has_value();
    if (!place) {
      const Phrase p = phrase(value);
      if (p.picture != 0 && (p.noun.empty() || p.kind == NounClass::background)) {
        place = "picture_" + std::to_string(p.picture);
        certain = true;
      }
      op.value = place ? *place : words(value);
    } else {
      op.value = place->substr(0, place->find('#'));
    }
    const std::string key = place ? *place : op.value;
    emit(out, std::move(op), "background", key, certain);
  }

  bool resolve(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t'), v = m.slot('v');
    switch (m.act) {
      case Act::keep:
        for (const Phrase& p : phrases(t)) {
          // "everything else" is what every edit means anyway
          const std::string_view text = lower(t);
          const bool rest =
              text.find("其他") != std::string_view::npos || text.find("其余") != std::string_view::npos ||
              text.find("其它") != std::string_view::npos || text.find("else") != std::string_view::npos ||
              text.find("rest") != std::string_view::npos || text.find("other") != std::string_view::npos;
          out.kept.push_back(rest ? "rest" : p.region || !p.owner.empty() ? p.full_key() : p.text());
          out.certain = out.certain && (rest || p.known);
        }
        return true;
      case Act::remove: return remove(m, out);
      case Act::add: return add(m, out);
      case Act::recolor: return recolor(m, out);
      case Act::into:
      case Act::say: return into(m, out);
      case Act::background:
        if (!m.slot('c').empty())
          background(out, m.slot('c'));
        else
          background(out, v);
        return true;
      case Act::style: {
        const Phrase p = t.empty() ? Phrase{} : phrase(t);
        if (p.kind == NounClass::background) return false;
        const std::string style = *find_style(lower(m.slot('z')));
        const bool whole = t.empty() || p.kind == NounClass::whole;
        if (!whole && !p.known) return false;
        Operation op{EditKind::style,
                     whole ? "whole" : p.text(),
                     style,
                     whole ? std::optional(whole_region("whole")) : p.region,
                     {}};
        op.owner = p.owner;
        emit(out, op, whole ? "whole" : p.key(), style, true);
        return true;
      }
      case Act::crop: return crop(m, out);
      case Act::adjust:
      case Act::raise:
      case Act::lower: return adjust(m, out);
      case Act::other: {
        const Phrase p = phrase(t);
        emit(out, {EditKind::other, p.known ? p.text() : "", with_quotes(raw_, quotes_), p.region, p.owner}, "", "",
             false);
        return true;
      }
    }
    return false;
  }

  bool remove(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t'), r = m.slot('r');
    if (t.empty()) {  // 抠图
      emit(out, {EditKind::background, "background", "none", whole_region("background"), {}}, "background", "none",
           true);
      return true;
    }
    const Phrase from = r.empty() ? Phrase{} : phrase(r);
    for (Phrase p : phrases(t)) {
      const bool two_places = p.region && from.region;
      if (!p.region) p.region = from.region;
      if (p.owner.empty() && from.known && from.kind != NounClass::whole && !from.noun.empty()) p.owner = from.noun;
      if (p.kind == NounClass::background && p.known) {
        emit(out, {EditKind::background, "background", "none", whole_region("background"), {}}, "background", "none",
             true);
        continue;
      }
      if (p.owner == "background") {
        p.region = whole_region("background");
        p.owner.clear();
      }
      if (p.quoted && p.noun.empty()) p.noun = "text";
      const std::string key = p.key();
      emit(out, operation(EditKind::remove, p, {}), key, "", p.known && !two_places && (r.empty() || from.known));
    }
    return true;
  }

  bool add(const Match& m, Parsed& out) const {
    Slot r = m.slot('r');
    if (r.empty()) r = m.slot('n');
    Phrase who = r.empty() ? Phrase{} : phrase(r);
    const auto things = phrases(m.slot('v'));
    for (const Phrase& thing : things) {
      if (thing.kind == NounClass::background && !thing.color.empty() && thing.known) {
        emit(out, {EditKind::background, "background", thing.color, whole_region("background"), {}}, "background",
             thing.color, true);
        continue;
      }
      Operation op{EditKind::add, who.text(), thing.text(), who.region ? who.region : thing.region, {}};
      if (who.kind == NounClass::whole && who.known && who.noun.empty()) op.target.clear();
      if (op.target.empty() && !thing.owner.empty()) op.target = thing.owner;
      const std::string target = op.target == who.text() ? who.key() : op.target;
      op.owner = who.owner;
      emit(out, std::move(op), target, thing.full_key(), thing.known && (r.empty() || who.known));
    }
    return true;
  }

  bool recolor(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t'), c = m.slot('c');
    const std::string color = *find_color(without_articles(lower(c)));
    for (const Phrase& p : phrases(t)) {
      if (is_no_target(p, lower(t))) return false;
      if (p.kind == NounClass::background && p.known) {
        background(out, c);
        continue;
      }
      // 把“新品”改成“黄色”: a quoted colour does not match $c, so this is one.
      emit(out, operation(EditKind::recolor, p, color), p.key(), color,
           p.known && !p.noun.empty() && p.kind != NounClass::whole);
    }
    return true;
  }

  void replace_text(const Phrase& p, Slot v, bool certain, Parsed& out) const {
    Operation op{EditKind::replace_text,
                 p.quoted         ? p.quote
                 : p.noun.empty() ? "text"
                                  : p.noun,
                 words(v), p.region, p.owner};
    if (p.quoted && p.kind == NounClass::carrier) op.owner = p.noun;
    if (!p.quoted && p.kind == NounClass::lettering && !p.owner.empty()) {  // 标签上的文字: the label's
      op.target = p.owner;
      op.owner.clear();
    }
    if (!op.region) op.region = whole_region("text");
    const std::string target = (p.quoted ? "\"" : "") + op.target;
    const std::string value = op.value;
    emit(out, std::move(op), target, value, certain);
  }

  bool into(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t').empty() ? m.slot('n') : m.slot('t'), v = m.slot('v');
    if (v.empty()) return false;
    const Phrase p = t.empty() ? Phrase{} : phrase(t);
    if (is_no_target(p, lower(t))) return false;
    if (m.act == Act::say) {
      replace_text(p, v, p.known, out);
      return true;
    }
    const std::string_view value = without_articles(lower(v));
    if (t.empty() || (p.kind == NounClass::whole && p.known)) {
      const bool says_background =
          value.ends_with("背景") || value.ends_with("底") || value.ends_with("background") || value.ends_with("底图");
      if (says_background) return background(out, v), true;
      if (t.empty()) return false;
    }
    if (p.kind == NounClass::background && p.known && p.color.empty()) return background(out, v), true;
    const bool one_quote = quote_at(lower(v), 0) == 0 ? v.end - v.begin == kQuoteMarkBytes
                                                      : quote_at(lower(v), 0) > 0 && v.end - v.begin == kQuoteMarkBytes;
    Phrase q = phrase(v);
    if ((p.quoted && (p.noun.empty() || p.kind == NounClass::carrier || p.kind == NounClass::lettering)) ||
        p.kind == NounClass::lettering || (p.kind == NounClass::carrier && (one_quote || !q.known))) {
      replace_text(p, v, p.known && (one_quote || p.kind == NounClass::lettering || p.kind == NounClass::carrier), out);
      return true;
    }
    // "make the cat dance" is no replacement
    const bool makes = lower_.starts_with("make ") || lower_.starts_with("have ") || lower_.starts_with("set ") ||
                       lower_.starts_with("让");
    if (makes && !q.known) return false;
    if (p.known && p.kind == NounClass::subject && find_place(value) && !q.known) return false;
    Operation op = operation(EditKind::replace, p, q.text());
    if (!op.region) op.region = q.region;
    emit(out, std::move(op), p.key(), q.full_key(), p.known && q.known);
    return true;
  }

  bool crop(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t');
    Slot v = m.slot('v');
    if (v.empty()) v = m.slot('k');
    const Phrase p = t.empty() ? Phrase{} : phrase(t);
    Operation op{EditKind::crop, "whole", {}, whole_region("whole"), {}};
    bool certain = true;
    if (!v.empty()) {
      if (!t.empty() && p.kind != NounClass::whole) return false;
      const auto shape = find_shape(lower(v));
      const Phrase part = phrase(v);
      if (shape) {
        op.value = *shape;
      } else if (part.region && part.noun.empty()) {
        op.region = part.region;
      } else {
        op.value = words(v);
        certain = false;
      }
    } else {
      if (!p.region) {
        if (p.kind == NounClass::whole) return false;
        certain = false;
        op.value = p.text();
      } else {
        certain = p.noun.empty();
        op.region = p.region;
      }
    }
    const std::string key = op.value;
    emit(out, std::move(op), "whole", key, certain);
    return true;
  }

  bool adjust(const Match& m, Parsed& out) const {
    const Slot t = m.slot('t');
    std::string what;
    bool slight = false;
    if (m.act == Act::adjust) {
      if (m.slot('j').empty()) {  // flip $t horizontally
        what = lower_.ends_with("horizontally") ? "flip horizontal" : "flip vertical";
      } else {
        const std::string_view j = lower(m.slot('j'));
        what = *find_adjustment(without_degree(j));
        slight = without_degree(j).size() != j.size();
      }
    } else {
      what = *find_attribute(lower(m.slot('a'))) + (m.act == Act::raise ? " up" : " down");
    }
    const Phrase p = t.empty() ? Phrase{} : phrase(t);
    const bool whole = t.empty() || (p.kind == NounClass::whole && p.noun == "whole");
    if (!whole && !p.known) return false;
    Operation op{EditKind::adjust, whole ? "whole" : p.text(), what, p.region, p.owner};
    if (whole && !p.region) op.region = whole_region("whole");
    if (p.kind == NounClass::background) op.region = whole_region("background");
    emit(out, std::move(op), whole ? "whole" : p.key(), what, !slight);
    return true;
  }

  std::string_view raw_, lower_;
  const std::vector<std::string>& quotes_;
};

struct Span {
  size_t begin, end;
};

std::vector<Span> split_clauses(std::string_view lower) {
  static constexpr std::string_view kJoints[] = {
      " and then ", ", then ", ", and ", " and ", " then ", "; ",   ". ",   ", but ", " but ", " while ",
      " without ",  "并且",    "然后",   "接着",  "同时",   "另外", "还有", "以及",   "而且",  "随后",
      "再把",       "再将",    "并",     "再",    "和",     "但",   ",",    ";",      "、",    "只把",
      "只将",       "仅把",    "仅将",   "只",    "把",     "将",   "给"};
  std::vector<Span> spans;
  size_t begin = 0;
  for (size_t i = 0; i < lower.size();) {
    size_t joint_size = 0, keep = 0;
    for (const auto joint : kJoints) {
      if (!lower.substr(i).starts_with(joint)) continue;
      joint_size = joint.size();
      if (joint == " without ") keep = joint.size() - 1;
      if (joint == "把" || joint == "将" || joint == "给") keep = 3;
      if (joint.size() == 6 && (joint.ends_with("把") || joint.ends_with("将"))) keep = 3;
      break;
    }
    const auto last = lower.substr(begin, i - begin);
    if (keep == joint_size && joint_size == 3 &&
        (i == begin || last.ends_with("不要") || last.ends_with("别") || last.ends_with("勿") || last.ends_with("请") ||
         last.ends_with("帮我") || last.ends_with("请你")))
      joint_size = 0;
    if (joint_size == 0) {
      next_code_point(lower, i);
      continue;
    }
    if (i > begin) spans.push_back({begin, i});
    i += joint_size;
    begin = i - keep;
  }
  if (begin < lower.size()) spans.push_back({begin, lower.size()});
  return spans;
}

void append(Parsed& all, Parsed part) {
  for (size_t i = 0; i < part.operations.size(); ++i) {
    // 抠图,去掉背景: the same wish twice
    if (part.keys[i] != "other" && std::ranges::find(all.keys, part.keys[i]) != all.keys.end()) continue;
    all.operations.push_back(std::move(part.operations[i]));
    all.keys.push_back(std::move(part.keys[i]));
  }
  for (auto& kept : part.kept) all.kept.push_back(std::move(kept));
  all.certain = all.certain && part.certain;
}

class Sentence {
 public:
  explicit Sentence(const NormalText& text) : text_(text) {}

  Parsed parse() {
    for (const Span& span : split_clauses(text_.lower)) take(span);
    flush();
    return std::move(all_);
  }

 private:
  std::optional<Parsed> parse_span(Span span) const {
    strip_fillers(text_.lower, span.begin, span.end);
    if (span.begin >= span.end) return Parsed{};
    return Clause(text_, span.begin, span.end).parse();
  }

  static bool starts_phrase(std::string_view text) {
    return text.starts_with("the ") || text.starts_with("a ") || text.starts_with("an ");
  }

  void take(Span span) {
    auto parsed = parse_span(span);
    if (parsed && parsed->empty()) return;  // fillers alone
    if (pending_) {
      const Span joined{pending_->begin, span.end};
      if (!parsed) {
        auto both = parse_span(joined);
        const bool better = both && (both->certain || (result_ && !result_->certain) || !result_ ||
                                     starts_phrase(std::string_view(text_.lower).substr(span.begin)));
        if (better) {
          pending_ = joined;
          result_ = std::move(both);
          return;
        }
      } else if (!result_) {
        // 在右上角,添加…: a place said first; 背景,换成白色: a thing said first
        size_t begin = pending_->begin, end = pending_->end;
        strip_fillers(text_.lower, begin, end);
        const Phrase place = parse_phrase(std::string_view(text_.raw).substr(begin, end - begin),
                                          std::string_view(text_.lower).substr(begin, end - begin), text_.quotes);
        if (place.known && place.region && place.noun.empty()) {
          for (size_t i = 0; i < parsed->operations.size(); ++i)
            if (!parsed->operations[i].region) {
              parsed->operations[i].region = place.region;
              const std::string_view key = parsed->keys[i];
              const size_t bar = key.rfind('|');
              parsed->keys[i] = std::string(key.substr(0, bar)) + place.region->name + std::string(key.substr(bar));
            }
          pending_ = joined;
          result_ = std::move(parsed);
          return;
        }
        if (auto both = parse_span(joined); both && both->certain) {
          pending_ = joined;
          result_ = std::move(both);
          return;
        }
      }
    }
    flush();
    pending_ = span;
    result_ = std::move(parsed);
  }

  void flush() {
    if (!pending_) return;
    if (result_) {
      append(all_, std::move(*result_));
    } else {
      Span span = *pending_;
      strip_fillers(text_.lower, span.begin, span.end);
      const auto raw = std::string_view(text_.raw).substr(span.begin, span.end - span.begin);
      Parsed other;
      other.operations.push_back({EditKind::other, {}, with_quotes(raw, text_.quotes), std::nullopt, {}});
      other.keys.emplace_back("other");
      other.certain = false;
      append(all_, std::move(other));
    }
    pending_.reset();
    result_.reset();
  }

  const NormalText& text_;
  Parsed all_;
  std::optional<Span> pending_;
  std::optional<Parsed> result_;
};

// Canonical only where nothing is in doubt and no step depends on another.
std::string make_key(const Parsed& parsed, const std::string& fallback) {
  if (!parsed.certain || parsed.operations.empty()) return "text:" + fallback;
  std::vector<std::string> keys = parsed.keys;
  std::set<std::string> targets;
  bool independent = true;
  for (const Operation& op : parsed.operations)
    independent = independent && targets.insert(op.target).second && op.kind != EditKind::crop;
  for (const Operation& op : parsed.operations)
    independent = independent && !(op.kind == EditKind::replace && targets.contains(op.value));
  if (independent) std::ranges::sort(keys);
  std::string key = "edit:";
  for (const std::string& part : keys) key += part + '&';
  std::set<std::string> kept(parsed.kept.begin(), parsed.kept.end());
  kept.erase("rest");
  for (const std::string& part : kept) key += "keep|" + escaped(part) + '&';
  key.pop_back();
  return key;
}

// Same words, whatever the spacing and the full stop at the end.
std::string normal_words(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const CharClass kind = char_class(next_code_point(text, i));
    if (kind == CharClass::space || kind == CharClass::newline) {
      if (!result.empty() && result.back() != ' ') result += ' ';
    } else {
      result += text.substr(start, i - start);
    }
  }
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view end : {" ", ".", "。"})
      if (result.ends_with(end)) {
        result.resize(result.size() - end.size());
        again = true;
      }
  }
  return result;
}

}  // namespace

std::string_view edit_kind_name(EditKind kind) {
  static constexpr std::string_view kNames[] = {"add",        "remove", "replace", "replace_text", "recolor",
                                                "background", "style",  "crop",    "adjust",       "other"};
  return kNames[static_cast<size_t>(kind)];
}

Instruction parse_instruction(std::string_view utf8) {
  Instruction result;
  if (utf8.size() > kMaxInstructionBytes) {
    result.text = replace_invalid_utf8(utf8.substr(0, kMaxInstructionBytes));
    result.key = "text:" + replace_invalid_utf8(utf8);
    result.warnings.emplace_back("the instruction is too long to be understood; the whole picture may change");
    return result;
  }
  result.text = replace_invalid_utf8(utf8);
  const std::string fallback = normal_words(to_nfc(result.text));
  result.key = "text:" + fallback;
  if (fallback.empty()) {
    result.warnings.emplace_back("the instruction is empty");
    return result;
  }
  const NormalText text = normalize_instruction(result.text);
  if (split_clauses(text.lower).size() > kMaxClauses) {
    result.operations.push_back({EditKind::other, {}, fallback, std::nullopt, {}});
    result.warnings.emplace_back("too many wishes in one instruction");
    return result;
  }
  Parsed parsed = Sentence(text).parse();
  result.key = make_key(parsed, fallback);
  result.operations = std::move(parsed.operations);
  for (std::string& kept : parsed.kept)
    if (kept != "rest") result.kept.push_back(std::move(kept));
  const bool other =
      std::ranges::any_of(result.operations, [](const Operation& op) { return op.kind == EditKind::other; });
  if (other || result.operations.empty())
    result.warnings.emplace_back("a part of the instruction was not understood; the whole picture may change");
  return result;
}

}  // namespace inkling
