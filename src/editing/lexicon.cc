#include "editing/lexicon.h"

#include <array>
#include <charconv>
#include <span>
#include <unordered_map>

#include "text/unicode.h"

namespace inkling {

namespace {

// "canonical" and its names. ';' begins another sense: near enough to be the same target, not the same wish.
struct Row {
  std::string_view name, words;
};

constexpr Row kSubjects[] = {
    {"cat", "小猫|小猫咪|猫咪|猫|猫猫|cat|kitten|kitty"},
    {"dog", "小狗|狗狗|小狗狗|狗|dog|puppy"},
    {"rabbit", "兔子|小兔子|小兔|兔宝宝|rabbit|bunny"},
    {"bear", "小熊|熊|熊宝宝|bear|teddy bear"},
    {"panda", "熊猫|大熊猫|熊猫宝宝|小熊猫|panda|giant panda|baby panda"},
    {"elephant", "大象|小象|小大象|象宝宝|elephant|baby elephant"},
    {"dinosaur", "恐龙|小恐龙|恐龙宝宝|dinosaur|dino|baby dinosaur"},
    {"frog", "青蛙|小青蛙|frog|froggy"},
    {"duck", "鸭子|小鸭子|小鸭|duck|duckling"},
    {"fox", "狐狸|小狐狸|fox|little fox"},
    {"penguin", "企鹅|小企鹅|penguin|baby penguin"},
    {"owl", "猫头鹰|小猫头鹰|owl|owlet"},
    {"lion", "狮子|小狮子|lion|lion cub"},
    {"tiger", "老虎|小老虎|tiger|tiger cub"},
    {"monkey", "猴子|小猴子|小猴|monkey|little monkey"},
    {"pig", "小猪|猪|猪猪|pig|piglet|piggy"},
    {"sheep", "绵羊|小羊|小绵羊|羊|sheep|lamb"},
    {"giraffe", "长颈鹿|小长颈鹿|giraffe|baby giraffe"},
    {"turtle", "乌龟|小乌龟|turtle;海龟|sea turtle;陆龟|tortoise"},
    {"mouse", "老鼠|小老鼠|小鼠|mouse|little mouse"},
    {"cow", "奶牛|小奶牛|小牛|牛|cow|calf"},
    {"koala", "考拉|小考拉|树袋熊|koala|koala bear"},
    {"hedgehog", "刺猬|小刺猬|hedgehog|little hedgehog"},
    {"deer", "小鹿|鹿|梅花鹿|deer|fawn"},
    {"bird", "小鸟|鸟|鸟儿|bird"},
    {"fish", "小鱼|鱼|鱼儿|fish"},
    {"butterfly", "蝴蝶|小蝴蝶|butterfly"},
    {"horse", "马|小马|horse;pony"},
    {"unicorn", "独角兽|小独角兽|unicorn"},
    {"dragon", "龙|小龙|dragon"},
    {"bee", "蜜蜂|小蜜蜂|bee"},
    {"chick", "小鸡|chick;鸡|母鸡|chicken|hen"},
    {"animal", "小动物|动物|animal"},
    {"bag", "包|包包|bag;手提包|handbag"},
    {"shoe", "鞋子|鞋|shoe;运动鞋|sneaker"},
    {"mug", "杯子|水杯|cup;马克杯|mug"},
    {"bottle", "瓶子|bottle;水瓶|water bottle"},
    {"shirt", "衣服|clothes;衬衫|shirt;t恤|t恤衫|t shirt|tshirt"},
    {"box", "盒子|box;礼盒|gift box"},
    {"teapot", "茶壶|teapot|tea pot;壶"},
    {"lamp", "灯|lamp|light;台灯|table lamp|desk lamp"},
    {"product", "商品|产品|product|item"},
    {"person", "人|人物|person;男人|man;女人|woman"},
    {"people", "人们|人群|people"},
    {"boy", "男孩|小男孩|男孩子|boy|little boy"},
    {"girl", "女孩|小女孩|女孩子|girl|little girl"},
    {"child", "孩子|小孩|小朋友|child|kid"},
    {"baby", "宝宝|婴儿|baby"},
    {"main subject", "主体|主角|前景|主体物|subject|main subject|foreground"},
};
constexpr Row kThings[] = {
    {"hat", "帽子|小帽子|hat;cap"},
    {"glasses", "眼镜|glasses"},
    {"sunglasses", "墨镜|太阳镜|sunglasses"},
    {"scarf", "围巾|scarf"},
    {"skirt", "裙子|小裙子|skirt;连衣裙|dress"},
    {"bow", "蝴蝶结|bow|bow tie;发结|hair bow"},
    {"crown", "王冠|皇冠|crown"},
    {"necktie", "领带|necktie|tie"},
    {"backpack", "背包|backpack;书包|小书包|school bag|schoolbag"},
    {"headphones", "耳机|headphones"},
    {"flower", "花朵|花|flower;小花|little flower|small flower"},
    {"necklace", "项链|necklace;珍珠项链|pearl necklace;bead necklace"},
    {"cape", "披风|cape;斗篷|cloak"},
    {"coat", "外套|大衣|coat;夹克|jacket"},
    {"sweater", "毛衣|sweater"},
    {"pants", "裤子|pants|trousers"},
    {"socks", "袜子|socks"},
    {"gloves", "手套|gloves"},
    {"boots", "靴子|boots"},
    {"apron", "围裙|apron"},
    {"belt", "腰带|皮带|belt"},
    {"button", "按钮|button;扣子|纽扣"},
    {"ribbon", "丝带|缎带|ribbon"},
    {"watch", "手表|watch"},
    {"ring", "戒指|ring"},
    {"earrings", "耳环|earrings"},
    {"mask", "口罩|face mask;面具|mask"},
    {"passer-by", "路人|行人|passer by|passerby|passersby|passers by|pedestrians"},
    {"sky", "天空|sky"},
    {"cloud", "云|云朵|白云|cloud"},
    {"sun", "太阳|sun"},
    {"moon", "月亮|moon"},
    {"star", "星星|star"},
    {"rainbow", "彩虹|rainbow"},
    {"tree", "树|大树|tree;小树|small tree"},
    {"grass", "草|小草|grass"},
    {"leaf", "叶子|树叶|leaf"},
    {"car", "汽车|车|小汽车|车子|car"},
    {"bus", "公交车|巴士|bus"},
    {"bicycle", "自行车|单车|bicycle|bike"},
    {"boat", "小船|船|boat"},
    {"plane", "飞机|plane|airplane"},
    {"house", "房子|小房子|house"},
    {"table", "桌子|table|desk"},
    {"chair", "椅子|chair"},
    {"sofa", "沙发|sofa|couch"},
    {"bed", "床|小床|bed"},
    {"door", "门|door"},
    {"window", "窗户|窗子|窗|window"},
    {"wall", "墙|墙壁|墙面|wall"},
    {"floor", "地板|floor;地面|ground"},
    {"roof", "屋顶|roof"},
    {"curtain", "窗帘|curtain"},
    {"carpet", "地毯|carpet|rug"},
    {"vase", "花瓶|vase"},
    {"plate", "盘子|碟子|plate"},
    {"bowl", "碗|bowl"},
    {"balloon", "气球|balloon"},
    {"ball", "球|皮球|ball"},
    {"umbrella", "伞|雨伞|umbrella"},
    {"book", "书|书本|book"},
    {"guitar", "吉他|guitar"},
    {"kite", "风筝|kite"},
    {"toy", "玩具|toy"},
    {"gift", "礼物|gift|present"},
    {"cake", "蛋糕|cake;生日蛋糕|birthday cake"},
    {"ice cream", "冰淇淋|冰激凌|ice cream"},
    {"candy", "糖果|糖|candy"},
    {"apple", "苹果|apple"},
    {"banana", "香蕉|banana"},
    {"strawberry", "草莓|strawberry"},
    {"carrot", "胡萝卜|carrot"},
    {"mushroom", "蘑菇|mushroom"},
    {"heart", "爱心|心形|heart"},
    {"bubbles", "泡泡|bubbles|soap bubbles"},
    {"snowman", "雪人|snowman"},
    {"eyes", "眼睛|eyes"},
    {"hair", "头发|hair"},
    {"face", "脸|脸部|face"},
    {"skin", "皮肤|skin"},
    {"ears", "耳朵|ears"},
    {"nose", "鼻子|nose"},
    {"mouth", "嘴巴|嘴|mouth"},
    {"tail", "尾巴|tail"},
    {"wings", "翅膀|wings"},
    {"fur", "毛|毛发|fur"},
    {"beard", "胡子|beard;whiskers"},
    {"shadow", "阴影|影子|shadow"},
    {"reflection", "反光|倒影|reflection"},
    {"stain", "污渍|污点|stain"},
    {"scratch", "划痕|scratch"},
    {"wrinkles", "皱纹|wrinkles;褶皱|creases"},
    {"acne", "痘痘|痘|acne|pimples"},
    {"wire", "电线|wire|power line"},
    {"trash", "垃圾|trash|rubbish|garbage"},
    {"fence", "栅栏|围栏|篱笆|fence"},
    {"handle", "把手|提手|handle"},
    {"lid", "盖子|lid"},
    {"string", "绳子|string|rope"},
    {"phone", "手机|phone|cell phone|mobile phone"},
    {"computer", "电脑|computer"},
};
constexpr Row kLettering[] = {
    {"text", "文字|文本|字|字样|字体|text|words|lettering|writing"},
    {"title", "标题|title|headline"},
    {"slogan", "标语|口号|广告语|slogan"},
    {"price", "价格|价钱|price"},
    {"date", "日期|date;时间戳|timestamp|date stamp"},
    {"subtitle", "字幕|subtitle|subtitles"},
};
constexpr Row kCarriers[] = {
    {"label", "标签|label|tag;促销标签|promotional label|promo label|sale label;价签|价格标签|price tag"},
    {"sticker", "贴纸|sticker;促销贴纸|promo sticker|promotional sticker"},
    {"sign", "牌子|招牌|标牌|sign"},
    {"badge", "徽章|角标|badge"},
};
constexpr Row kOverlays[] = {
    {"watermark", "水印|watermark"},
    {"logo", "logo|标志|商标|徽标|图标"},
    {"frame", "边框|相框|frame;边缘|border"},
    {"qr code", "二维码|qr code"},
};
constexpr Row kBackground[] = {
    {"background", "背景|底色|背景色|背景颜色|background|backdrop|background color|background colour"}};
constexpr Row kWhole[] = {
    {"whole",
     "图片|图|图像|照片|相片|画面|整张图|整张图片|整个画面|整体|全图|这张图|这张图片|这张照片|这幅画|picture|image|"
     "photo|"
     "photograph|whole picture|whole image|entire picture|entire image|it|this|everything"},
};

// 'l' light, 'd' dark, 'b' bright are put before these.
constexpr Row kColors[] = {
    {"red", "红|red"},
    {"orange", "橙|橘|橘黄|橘红|orange"},
    {"yellow", "黄|yellow"},
    {"green", "绿|green"},
    {"blue", "蓝|blue"},
    {"purple", "紫|purple"},
    {"pink", "粉|粉红|pink"},
    {"brown", "棕|褐|brown"},
    {"grey", "灰|grey|gray"},
    {"white", "白|white"},
    {"black", "黑|black"},
    {"cyan", "青|cyan"},
    {"gold", "金|金黄|gold|golden"},
    {"silver", "银|silver"},
    {"cream", "米|米黄|cream|beige"},
    {"sky blue", "天蓝|sky blue"},
    {"mint green", "薄荷绿|mint green|mint"},
    {"navy", "藏青|藏蓝|navy|navy blue"},
    {"wine red", "酒红|wine red|burgundy"},
    {"rose red", "玫红|玫瑰红|rose red"},
    {"coffee", "咖啡|coffee"},
    {"grass green", "草绿|grass green"},
    {"ink green", "墨绿|ink green"},
    {"violet", "紫罗兰|violet"},
    {"turquoise", "青绿|绿松石|turquoise"},
    {"off-white", "米白|off white"},
    {"rainbow", "彩虹|rainbow|rainbow colored"},
    {"lake blue", "湖蓝|lake blue"},
    {"royal blue", "宝蓝|宝石蓝|royal blue"},
    {"khaki", "卡其|khaki"},
};
constexpr Row kShades[] = {{"light ", "浅|淡|light |pale "},
                           {"dark ", "深|暗|dark |deep "},
                           {"bright ", "亮|鲜|鲜艳的|bright "},
                           {"pure ", "纯|pure |plain |solid "}};

constexpr Row kPlaces[] = {
    {"meadow",
     "草地|草地上|meadow|grass|lawn;草原|草原上|grassland|prairie;绿草地|green meadow;grass field|grassy field"},
    {"beach", "沙滩|沙滩上|海滩|海滩上|beach;海边|seaside"},
    {"night",
     "星空|星空下|starry sky|starry night|starry night sky;夜空|夜空下|night sky;夜晚|night;有星星的夜空|night sky "
     "with stars"},
    {"forest", "森林|森林里|树林|树林里|forest|woods"},
    {"snow", "雪地|雪地里|雪地上|snow|snowy field|snow field;冰天雪地|ice and snow|冰雪"},
    {"classroom", "教室|教室里|classroom;房间|房间里|room"},
    {"rainbow sky", "彩虹天空|有彩虹的天空|rainbow sky|sky with a rainbow|sky with rainbow;彩虹|rainbow"},
    {"wood", "木桌|木桌上|wooden table|wood table;木质桌面|wooden tabletop"},
    {"gradient", "渐变|渐变色|gradient;紫色渐变|purple gradient;蓝色渐变|blue gradient;粉色渐变|pink gradient"},
    {"sea", "大海|海洋|海里|sea|ocean"},
    {"city", "城市|城市里|city;街道|街道上|街上|street"},
    {"park", "公园|公园里|park"},
    {"garden", "花园|花园里|garden"},
    {"mountains", "山|大山|山上|mountains|mountain"},
    {"desert", "沙漠|沙漠里|desert"},
    {"space", "太空|太空中|宇宙|outer space|space"},
    {"sky", "天空|天空中|蓝天|sky|blue sky;蓝天白云|blue sky with white clouds"},
    {"kitchen", "厨房|厨房里|kitchen"},
    {"bedroom", "卧室|卧室里|bedroom"},
    {"living room", "客厅|客厅里|living room"},
    {"studio", "摄影棚|影棚|studio|photo studio"},
    {"castle", "城堡|城堡里|castle"},
    {"farm", "农场|农场里|farm"},
    {"sunset", "日落|夕阳|sunset"},
    {"transparent", "透明|transparent"},
    {"lake", "湖边|lake|lakeside"},
    {"playground", "操场|游乐场|playground"},
};
constexpr Row kStyles[] = {
    {"cartoon", "卡通|cartoon"},
    {"watercolor", "水彩|水彩画|watercolor|watercolour|watercolor painting|watercolour painting"},
    {"oil_painting", "油画|oil painting|oil"},
    {"sketch", "素描|铅笔画|sketch|pencil sketch|pencil drawing"},
    {"anime", "动漫|动画|日漫|anime"},
    {"ink_painting", "水墨|水墨画|国画|ink painting|chinese ink painting|ink wash"},
    {"pixel_art", "像素|像素画|pixel art|pixel"},
    {"3d", "3d|三维|立体|3d render"},
    {"black_and_white", "黑白|黑白照片|黑白照|black and white|grayscale|greyscale|monochrome"},
    {"clay", "黏土|粘土|clay"},
    {"crayon", "蜡笔|蜡笔画|crayon|crayon drawing"},
    {"vintage", "复古|怀旧|老照片|vintage|retro"},
    {"cyberpunk", "赛博朋克|cyberpunk"},
    {"ghibli", "吉卜力|宫崎骏|ghibli|studio ghibli"},
    {"line_art", "线稿|线描|line art|line drawing"},
    {"papercut", "剪纸|paper cut|papercut"},
    {"picture_book", "绘本|童话|picture book|storybook"},
    {"realistic", "写实|真实|realistic|photorealistic"},
};
constexpr Row kAdjustments[] = {
    {"brightness up",
     "提亮|调亮|变亮|加亮|增亮|亮|更亮|brighten|brighten up|brighter|lighten|lighter|more bright|lighten up"},
    {"brightness down", "调暗|变暗|压暗|暗|更暗|darken|darker|less bright"},
    {"sharpness up", "锐化|变清晰|更清晰|清晰|更清楚|清楚|变清楚|sharpen|sharper|clearer|more clear|crisper"},
    {"blur", "模糊|虚化|变模糊|blur|blurry|blurred|blur out|defocus"},
    {"soften", "柔化|柔和|更柔和|soften|softer"},
    {"denoise", "降噪|去噪|去噪点|denoise"},
    {"deblur", "去模糊|deblur"},
    {"color temperature up", "变暖|更暖|调暖|暖|warmer"},
    {"color temperature down", "变冷|更冷|调冷|冷|cooler|colder"},
    {"saturation up", "更鲜艳|鲜艳|变鲜艳|more colorful|more colourful|more vivid|more saturated"},
    {"saturation down", "更素|less saturated|less colorful"},
    {"size up", "放大|变大|大|更大|enlarge|bigger|larger"},
    {"size down", "缩小|变小|小|更小|shrink|smaller"},
    {"flip horizontal", "水平翻转|左右翻转|镜像|镜像翻转|flip horizontally|mirror|mirrored"},
    {"flip vertical", "垂直翻转|上下翻转|flip vertically"},
    {"white balance", "白平衡|校正白平衡|调整白平衡|white balance|fix the white balance|correct the white balance"},
    {"straighten", "扶正|拉直|straighten"},
};
constexpr Row kAttributes[] = {
    {"brightness", "亮度|brightness"},
    {"contrast", "对比度|contrast"},
    {"saturation", "饱和度|色彩饱和度|saturation|color saturation"},
    {"sharpness", "清晰度|锐度|sharpness|clarity"},
    {"color temperature", "色温|color temperature|colour temperature"},
    {"exposure", "曝光|曝光度|exposure"},
};
constexpr Row kShapes[] = {
    {"1:1", "正方形|方形|方图|正方形图片|square|square shape|square format|square picture|square image"},
    {"3:4", "小红书尺寸"},
    {"circle", "圆形|circle|round"},
    {"portrait", "竖图|竖版|竖屏|portrait|portrait format"},
    {"landscape", "横图|横版|横屏|landscape|landscape format"},
};

// Corners reach 45 % in, halves a half, sides too.
struct RegionRow {
  Region region;
  std::string_view words;
};
const RegionRow kRegions[] = {
    {{"top_left", 0, 0, .45F, .45F},
     "左上角|左上方|左上|左上侧|top left|upper left|top left corner|upper left corner|left top corner|left upper "
     "corner"},
    {{"top_right", .55F, 0, 1, .45F},
     "右上角|右上方|右上|右上侧|top right|upper right|top right corner|upper right corner|right top corner|right upper "
     "corner"},
    {{"bottom_left", 0, .55F, .45F, 1},
     "左下角|左下方|左下|左下侧|bottom left|lower left|bottom left corner|lower left corner|left bottom corner"},
    {{"bottom_right", .55F, .55F, 1, 1},
     "右下角|右下方|右下|右下侧|bottom right|lower right|bottom right corner|lower right corner|right bottom corner"},
    {{"left_half", 0, 0, .5F, 1}, "左半边|左半部分|左半|左半侧|左边一半|left half"},
    {{"right_half", .5F, 0, 1, 1}, "右半边|右半部分|右半|右半侧|右边一半|right half"},
    {{"top_half", 0, 0, 1, .5F}, "上半部分|上半部|上半边|上半|top half|upper half"},
    {{"bottom_half", 0, .5F, 1, 1}, "下半部分|下半部|下半边|下半|bottom half|lower half"},
    {{"left", 0, 0, .5F, 1}, "左边|左侧|左面|左方|最左边|left|left side|left hand side|left part"},
    {{"right", .5F, 0, 1, 1}, "右边|右侧|右面|右方|最右边|right|right side|right hand side|right part"},
    {{"top", 0, 0, 1, .4F}, "上方|上边|上面|顶部|上部|顶端|最上面|top|top part|upper part|top edge"},
    {{"bottom", 0, .6F, 1, 1}, "下方|下边|下面|底部|下部|底端|最下面|bottom|bottom part|lower part|bottom edge"},
    {{"center", .25F, .25F, .75F, .75F}, "中间|中央|中心|正中|正中间|正中央|中部|居中|center|centre|middle"},
};

constexpr std::string_view kTraditional =
    "將換圖標籤刪變顏綠藍紅黃貼紙圍給貓鴨豬雞魚馬鳥龍獅虎這個請幫調裡邊間壓銳潔對後並來張銷熱賣時價專讓鏡項鏈頭帶畫樹雲"
    "車雨門"
    "窗書氣飛機電腦遠動漸層純淺銀風寫實體邊減與齊圓橫豎與轉為據熊樣";
constexpr std::string_view kSimplified =
    "将换图标签删变颜绿蓝红黄贴纸围给猫鸭猪鸡鱼马鸟龙狮虎这个请帮调里边间压锐洁对后并来张销热卖时价专让镜项链头带画树云"
    "车雨门"
    "窗书气飞机电脑远动渐层纯浅银风写实体边减与齐圆横竖与转为据熊样";

using Names = std::unordered_map<std::string_view, Noun>;

void put(Names& names, std::span<const Row> rows, NounClass kind) {
  for (const Row& row : rows) {
    int sense = 0;
    for (size_t i = 0; i < row.words.size();) {
      const size_t end = std::min(row.words.find_first_of("|;", i), row.words.size());
      names.emplace(row.words.substr(i, end - i), Noun{std::string(row.name), sense, kind, false});
      sense += end < row.words.size() && row.words[end] == ';';
      i = end + 1;
    }
  }
}

Names table(std::span<const Row> rows, NounClass kind = NounClass::thing) {
  Names names;
  put(names, rows, kind);
  return names;
}

// The row's name; senses after the first are told apart by "#2", so that keys differ.
std::optional<std::string> look_up(const Names& names, std::string_view name) {
  const auto found = names.find(name);
  if (found == names.end()) return std::nullopt;
  const Noun& noun = found->second;
  return noun.sense == 0 ? noun.name : noun.name + "#" + std::to_string(noun.sense + 1);
}

bool drop_suffix(std::string_view& text, std::string_view suffix) {
  if (text.size() <= suffix.size() || !text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

bool is_ascii_word(std::string_view name) { return !name.empty() && static_cast<unsigned char>(name.back()) < 128; }

}  // namespace

std::optional<Noun> find_noun(std::string_view name) {
  static const Names names = [] {
    Names all;
    put(all, kSubjects, NounClass::subject);
    put(all, kThings, NounClass::thing);
    put(all, kLettering, NounClass::lettering);
    put(all, kCarriers, NounClass::carrier);
    put(all, kOverlays, NounClass::overlay);
    put(all, kBackground, NounClass::background);
    put(all, kWhole, NounClass::whole);
    return all;
  }();
  if (const auto found = names.find(name); found != names.end()) return found->second;
  if (!is_ascii_word(name)) return std::nullopt;
  // English plurals: cats, boxes, puppies.
  for (const auto& [from, to] : {std::pair{"ies", "y"}, std::pair{"es", ""}, std::pair{"s", ""}}) {
    std::string_view stem = name;
    if (!drop_suffix(stem, from)) continue;
    const std::string singular = std::string(stem) + to;
    if (const auto found = names.find(singular); found != names.end()) {
      Noun noun = found->second;
      noun.plural = true;
      return noun;
    }
  }
  return std::nullopt;
}

std::optional<std::string> find_color(std::string_view name) {
  static const Names colors = table(kColors), shades = table(kShades);
  drop_suffix(name, "的");
  for (const auto suffix : {"颜色", "色", " color", " colour"})
    if (drop_suffix(name, suffix)) break;
  if (name == "大红") name = "红";
  if (const auto color = look_up(colors, name)) return color;
  for (const auto& [word, shade] : shades) {
    if (name.size() <= word.size() || !name.starts_with(word)) continue;
    if (const auto color = look_up(colors, name.substr(word.size()))) return shade.name + *color;
  }
  return std::nullopt;
}

std::optional<std::string> find_place(std::string_view name) {
  static const Names places = table(kPlaces);
  for (const auto suffix : {"的背景", "背景", " background", " backdrop", "的样子"})
    if (drop_suffix(name, suffix)) break;
  if (name == "白底" || name == "白底图") return "white";
  if (const auto place = look_up(places, name)) return place;
  for (const auto suffix : {"上", "里", "中", "里面", "下"}) {
    std::string_view stem = name;
    if (drop_suffix(stem, suffix))
      if (const auto place = look_up(places, stem)) return place;
  }
  if (std::string_view stem = name; drop_suffix(stem, "底"))
    if (const auto color = find_color(stem)) return color;
  if (auto color = find_color(name)) {
    // A background of a colour is of that colour all over.
    if (color->starts_with("pure ")) color->erase(0, 5);
    return color;
  }
  return std::nullopt;
}

std::optional<std::string> find_style(std::string_view name) {
  static const Names styles = table(kStyles);
  for (const auto prefix : {"a ", "an ", "the "})
    if (name.starts_with(prefix)) {
      name.remove_prefix(std::string_view(prefix).size());
      break;
    }
  for (const auto suffix :
       {"风格的图片", "风格的画", "的风格", "风格", "画风", "效果", "风", " style picture", " style image", " style",
        " effect", " filter", " picture", " image", " photo", " version", "版"})
    if (std::string_view stem = name; drop_suffix(stem, suffix))
      if (const auto style = look_up(styles, stem)) return style;
  return look_up(styles, name);
}

std::optional<std::string> find_adjustment(std::string_view phrase) {
  static const Names names = table(kAdjustments);
  return look_up(names, phrase);
}

std::optional<std::string> find_attribute(std::string_view name) {
  static const Names names = table(kAttributes);
  return look_up(names, name);
}

std::optional<std::string> find_shape(std::string_view name) {
  static const Names names = table(kShapes);
  for (const auto prefix : {"a ", "an ", "the ", "size "})
    if (name.starts_with(prefix)) name.remove_prefix(std::string_view(prefix).size());
  for (const auto suffix : {"的尺寸", "尺寸", "的比例", "比例", "大小", "像素", " aspect ratio", " ratio", " pixels",
                            " px", " size", " aspect", "的"})
    drop_suffix(name, suffix);
  if (const auto shape = look_up(names, name)) return shape;
  // 16:9, 3比4, 800x800, 800*600, 3/4
  int first = 0, second = 0;
  const char* end = name.data() + name.size();
  auto step = std::from_chars(name.data(), end, first);
  if (step.ec != std::errc() || first < 1 || first > 10000) return std::nullopt;
  std::string_view rest(step.ptr, static_cast<size_t>(end - step.ptr));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  bool ratio = false;
  for (const auto sign : {":", "比", "/", " to ", "x", "*", "×", "by "}) {
    if (!rest.starts_with(sign)) continue;
    ratio = std::string_view(sign) != "x" && std::string_view(sign) != "*" && std::string_view(sign) != "×" &&
            std::string_view(sign) != "by ";
    rest.remove_prefix(std::string_view(sign).size());
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    step = std::from_chars(rest.data(), end, second);
    if (step.ec != std::errc() || step.ptr != end || second < 1 || second > 10000) return std::nullopt;
    return std::to_string(first) + (ratio ? ":" : "x") + std::to_string(second);
  }
  return std::nullopt;
}

std::optional<Region> find_region(std::string_view name) {
  static const auto names = [] {
    std::unordered_map<std::string_view, const Region*> all;
    for (const RegionRow& row : kRegions)
      for (size_t i = 0; i < row.words.size();) {
        const size_t end = std::min(row.words.find('|', i), row.words.size());
        all.emplace(row.words.substr(i, end - i), &row.region);
        i = end + 1;
      }
    return all;
  }();
  const auto found = names.find(name);
  if (found == names.end()) return std::nullopt;
  return *found->second;
}

std::string simplify(std::string_view utf8) {
  static const auto pairs = [] {
    std::unordered_map<std::string_view, std::string_view> all;
    for (size_t i = 0; i + 3 <= kTraditional.size(); i += 3)
      all.emplace(kTraditional.substr(i, 3), kSimplified.substr(i, 3));
    return all;
  }();
  static_assert(kTraditional.size() == kSimplified.size());
  std::string result;
  result.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size();) {
    const size_t start = i;
    next_code_point(utf8, i);
    const auto found = pairs.find(utf8.substr(start, i - start));
    result += found == pairs.end() ? utf8.substr(start, i - start) : found->second;
  }
  return result;
}

}  // namespace inkling
