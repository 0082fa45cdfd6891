// What the shipped model knows, and how picture buttons become a wish in either language.
// The names are the first ones of tools/world/spec.py, the sentences those of its captions.

const table = (text) => Object.fromEntries(text.trim().split('\n').map((line) => {
  const [id, zh, en, extra] = line.trim().split('|');
  return [id, { id, zh, en, extra }];
}));

export const ANIMALS = table(`
  cat|小猫|cat
  dog|小狗|dog
  rabbit|兔子|rabbit
  duck|鸭子|duck
  bear|小熊|bear
  panda|熊猫|panda
  elephant|大象|elephant
  dinosaur|恐龙|dinosaur
  frog|青蛙|frog
  fox|狐狸|fox
  penguin|企鹅|penguin
  owl|猫头鹰|owl
  lion|狮子|lion
  tiger|老虎|tiger
  monkey|猴子|monkey
  pig|小猪|pig
  sheep|绵羊|sheep
  giraffe|长颈鹿|giraffe
  turtle|乌龟|turtle
  mouse|老鼠|mouse
  cow|奶牛|cow
  koala|考拉|koala
  hedgehog|刺猬|hedgehog
  deer|小鹿|deer`);

export const COLORS = table(`
  red|红色|red
  orange|橙色|orange
  yellow|黄色|yellow
  green|绿色|green
  blue|蓝色|blue
  purple|紫色|purple
  pink|粉色|pink
  brown|棕色|brown
  grey|灰色|grey
  white|白色|white
  black|黑色|black`);

export const ACCESSORY_COLORS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black'];

// the last field is the Chinese verb
export const ACCESSORIES = table(`
  hat|帽子|hat|戴
  glasses|眼镜|glasses|戴
  scarf|围巾|scarf|围
  skirt|裙子|skirt|穿
  bow|蝴蝶结|bow|戴
  crown|王冠|crown|戴
  necktie|领带|necktie|打
  backpack|书包|backpack|背
  headphones|耳机|headphones|戴
  flower|小花|flower|戴
  necklace|项链|necklace|戴
  cape|披风|cape|披`);

// the last field is the Chinese clause
export const ACTIONS = table(`
  standing|站着|standing|站着
  waving|挥手|waving|在挥手
  bubbles|吹泡泡|blowing bubbles|在吹泡泡
  flying|飞|flying|在飞
  balloon|拿气球|holding a balloon|拿着气球
  reading|看书|reading a book|在看书
  teaching|讲课|teaching at a blackboard|在讲课
  ball|玩球|playing with a ball|在玩球
  ice_cream|吃冰淇淋|eating ice cream|在吃冰淇淋
  painting|画画|painting|在画画
  sleeping|睡觉|sleeping|在睡觉
  guitar|弹吉他|playing the guitar|在弹吉他
  umbrella|打伞|holding an umbrella|打着伞`);

// zh and en are the labels; the last field is the Chinese phrase
export const PLACES = table(`
  meadow|草地|meadow|在草地上
  beach|海边|beach|在海边
  night|星空|starry sky|在星空下
  forest|森林|forest|在森林里
  snow|雪地|snow|在雪地里
  classroom|教室|classroom|在教室里
  rainbow|彩虹|rainbow|在彩虹下
  studio|淡色|plain|
  white|白色|white|`);

const PLACE_EN = {
  meadow: 'on a meadow',
  beach: 'at the beach',
  night: 'under the starry sky',
  forest: 'in the forest',
  snow: 'in the snow',
  classroom: 'in a classroom',
  rainbow: 'under a rainbow',
};

export const GROUPS = { animal: ANIMALS, color: COLORS, accessory: ACCESSORIES, action: ACTIONS, place: PLACES };

const article = (noun) => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);

function worn_en(id, color) {
  const name = (color ? `${COLORS[color].en} ` : '') + ACCESSORIES[id].en;
  return id === 'glasses' || id === 'headphones' ? name : article(name);
}

function compose_zh({ animal, color, accessory, accessory_color, action, place }) {
  let text = '';
  if (color) text += `${COLORS[color].zh}的`;
  text += animal ? ANIMALS[animal].zh : '小动物';
  if (accessory) text += `${ACCESSORIES[accessory].extra}着${accessory_color ? COLORS[accessory_color].zh : ''}${ACCESSORIES[accessory].zh}`;
  const where = place ? PLACES[place].extra : '';
  let does = action ? ACTIONS[action].extra : '';
  if (where && does.startsWith('在')) does = does.slice(1); // one 在 is enough
  if (accessory && (where || does)) text += '，';
  text += where + does;
  if (place === 'white') text += '，白色背景';
  if (place === 'studio') text += '，柔和的纯色背景';
  return text;
}

function compose_en({ animal, color, accessory, accessory_color, action, place }) {
  const noun = (color ? `${COLORS[color].en} ` : '') + (animal ? ANIMALS[animal].en : 'little animal');
  let text = article(noun);
  if (accessory) text += ` wearing ${worn_en(accessory, accessory_color)}`;
  if (action) text += `${accessory ? ' and' : ''} ${ACTIONS[action].en}`;
  if (PLACE_EN[place]) text += ` ${PLACE_EN[place]}`;
  if (place === 'white') text += ', white background';
  if (place === 'studio') text += ', soft pastel background';
  return text;
}

/** A wish out of what was picked; '' when nothing was. */
export function compose(picked, lang) {
  if (!Object.values(picked).some(Boolean)) return '';
  return lang === 'zh' ? compose_zh(picked) : compose_en(picked);
}

const any = (ids) => ids[Math.floor(Math.random() * ids.length)];

/** A wish out of the hat: always an animal, the rest two times out of three. */
export function surprise() {
  const maybe = (ids) => (Math.random() < 0.66 ? any(ids) : null);
  const accessory = maybe(Object.keys(ACCESSORIES));
  return {
    animal: any(Object.keys(ANIMALS)),
    color: maybe(Object.keys(COLORS)),
    accessory,
    accessory_color: accessory && maybe(ACCESSORY_COLORS),
    action: maybe(Object.keys(ACTIONS)),
    place: maybe(Object.keys(PLACE_EN)),
  };
}
