"""Training sentences of the text classifier: written for it, composed from who, what and where.

The acts avoid listed words where they can: the lists catch those. Every actor and place stands in safe sentences as
well, so that only the act can tell. train_text.py checks that no sentence of the test sets is among them.
"""

from __future__ import annotations

import random

WHO_ZH = "一个人|一个男人|一个女人|一个小孩|小男孩|小女孩|他|她|小熊|小兔子|小猫|小狗|士兵|老师|妈妈|爸爸|一群人|一只狐狸|公主|警察|熊猫|学生|邻居|小鸭子|机器人|老爷爷|模特|照片里的人".split("|")
WHERE_ZH = "|在房间里|在草地上|在学校|在森林里|在街上|在海边|在床上|在地上|在夜晚|在城堡里|在教室里|在浴室|在桌子上|在公园".split("|")
HOW_ZH = "|画一个|画|一张图片：|我想要|请画|卡通风格的|生成".split("|")
WHO_EN = "a person|a man|a woman|a child|a boy|a girl|he|she|the teddy bear|a bunny|a kitten|the puppy|a soldier|the teacher|a mother|a father|people|a fox|the princess|a policeman|a panda|a student|somebody|a duckling|a robot|an old man|the model|the person in the photo".split("|")
WHERE_EN = "|in a room|on the grass|at school|in the forest|in the street|at the beach|on the bed|on the floor|at night|in the castle|in the classroom|in the bathroom|on the table|in the park".split("|")
HOW_EN = "|draw|a picture of|please draw|i want|a cartoon of|show me|make".split("|")

# category -> what someone does or is; zh, en
UNSAFE: dict[str, tuple[str, str]] = {
    "sexual": (
        "什么都没穿|身上没有衣物|身上没有任何布料|全身光溜溜|光着上半身摆姿势|把衣服全部脱下来|解开扣子露出身子|衣服被撕掉了|衣服变透明能看到身体|没有布料遮挡的身体|只剩内衣的样子|"
        "露出隐私部位|摸别人的私密部位|看别人洗澡|偷看换衣服|从裙子下面拍|两个大人在被窝里亲热|赤条条地站着|摆出勾人的姿势|身体没有遮盖|穿得很暴露很露骨|衣服掉光了|没有穿上衣的成年女性|"
        "让人脸红的成人画面|大人才能看的画面|不给小孩看的照片|把外套和裤子都去掉只剩身体|把泳装变没|把布料擦掉露出皮肤|让衣服消失|去掉身上的衣物|脱得精光|光身子的大人|裤子被扒下来|抱着光身子的女人|亲吻她的身体|"
        "穿得少得不能再少|展示女性身体曲线的成人写真|床上没有衣服的两个人|浴缸里没有衣服的女人被偷看|衣服滑落露出肩膀和胸|裙子被掀起来|紧贴身体湿透的白衬衫看到里面",
        "has nothing on|has no clothing on|with no garments at all|wearing only skin|whose clothes fell off completely|without a shirt or pants on, adult|in their birthday suit|showing private parts|touching private parts|"
        "peeking at someone changing|watching someone bathe secretly|seen from below the skirt|two adults being intimate in bed|under the sheets doing adult things|posing in a suggestive way|dressed very revealingly|in a wet shirt that shows everything|"
        "with all garments removed|unbuttoning to reveal the body|with the outfit erased so the body shows|make the clothes vanish|make the outfit transparent so we see the body|delete the swimsuit from the body|erase the dress so the skin shows|"
        "get rid of the shirt and pants of the person|stripped of all garments|uncovered body of an adult|covered by nothing but a smile|an adults only picture|a picture not for children, adults touching|kissing her body passionately|"
        "in very small underwear posing for men|lifting her dress to show herself|with the private area visible|completely uncovered on a couch|in the buff|clothing torn away|let her pose with no outfit|pulling down pants of a person|rubbing against each other in bed",
    ),
    "violence": (
        "把小动物从高处丢下去|从阳台上抛下活的小狗|把猫扔进火里|拿石头砸小狗|用棍子打人|拿棒子敲别人的头|把人推到楼下|把朋友推到车轮下|倒在红色液体中一动不动|躺着不动身下一滩红色|身上全是红色的伤口|伤口里冒出红色的液体|"
        "被打得鼻青脸肿|被绑起来关在笼子里|被绳子捆住嘴巴贴胶带|手和脚都没有了|身体断成两半|头和身子分开了|被刀刺中肚子|用锯子锯人|拿斧头劈向别人|把鱼和猫的头拧下来|拔掉翅膀和腿|把动物活活弄死|被汽车碾过去|"
        "再也没有呼吸了|让他永远闭上眼睛|被敌人杀得一个不剩|战场上全是倒下的士兵|村子里的人都被害了|把别人弄得很痛苦|用火烧别人|把同学按在水里|捂住她的嘴不让呼吸|让人流很多血|打碎他的牙齿|折断她的手臂|踢倒在地的人|"
        "用鞭子抽打|大人打小孩|用拳头打女孩的脸|狗被人踢飞|用钉子钉住小动物|把同伴咬死|把小羊撕成碎片|车祸现场有人倒在地上|地上有断掉的手",
        "throwing a small animal from a height|drops a live puppy off the balcony|tosses the cat into the fire|hits a dog with a stone|hits people with a stick|smashes someone's head with a bat|pushes a friend off the roof|pushes a friend under a car|"
        "lies in a red puddle and does not move|motionless with red liquid all around|covered in red cuts|red liquid coming out of a wound|with a black eye and a broken nose after a beating|tied up and locked in a cage|gagged with tape and tied with rope|"
        "with arms and legs missing and red stumps|cut in two halves|whose head is apart from the body|gets a knife in the belly|sawing a person in half for real|swings an axe at someone|tears off legs and wings of an animal|makes an animal suffer|crushed under a car|"
        "stops breathing forever|ends the life of his enemy|taking the life of another person|soldiers lying lifeless on the field|all villagers were put to death|causes great pain to others|burns someone with fire|holds a classmate under water|"
        "covers her mouth so she cannot breathe|makes someone lose a lot of blood|breaks his teeth with a hammer|breaks her arm on purpose|kicks someone who is on the ground|whips a slave|an adult hits a child|punches a girl in the face|kicks the dog hard|"
        "nails a small animal to the wall|bites the friend until he dies|tears the lamb to pieces|a car crash with bodies on the road|a cut off hand on the ground|is beaten by a mob|is hurting animals for fun|pulls the fur off a living animal",
    ),
    "horror": (
        "脸上少了皮肤|嘴里全是针|脸融化了|脖子扭到后面|从坟里伸出手|从床底下伸出惨白的手|眼睛是两个黑洞|嘴角一直裂开|身体里钻出虫子|牙齿上沾着红色|长着人牙的怪物要吃小孩|站在床边盯着睡着的孩子看的黑影|肚子里的东西掉出来|"
        "被怪物活活吃掉|让人晚上不敢睡觉|看了会做很坏的梦|让小朋友吓哭的画面|头可以掉下来的娃娃|眼睛流出红色的泪|被钉在墙上的娃娃|白衣长发的女人趴在天花板|满是死去的人的医院|魔鬼把灵魂拖进地狱|祭坛上绑着人|半张脸烂掉了|"
        "像死了很久的人在走路|嘴里滴着红色的口水|让它变得很吓人很邪恶|镜子里有死去的人|挂在绳子上摇晃的人影",
        "with no skin on the face|with a mouth full of needles inside|whose face is melting|with a neck turned all the way around|a hand reaching out of a grave|a pale hand from under the bed grabs the child|whose eyes are black holes|a mouth torn open to the ears|"
        "bugs coming out of the body|with red on its teeth after eating someone|a thing with human teeth that eats kids|a shadow watching a child sleep with bad intent|whose insides fall out|is eaten alive by a beast|so scary that nobody can sleep|a picture that gives kids bad dreams|"
        "frighten children until they cry|a doll whose head falls off and bleeds|red tears from the eyes|a long haired woman in white crawling on the ceiling|a hospital full of the dead|drags souls down to hell|a person tied on an altar for the cult|half the face is rotten|"
        "walking like someone dead for weeks|red drool from its jaws|make it look evil and very frightening|a dead person in the mirror|a body swinging from a tree|eyes staring from the dark with fangs about to bite the child",
    ),
    "drugs": (
        "手里夹着点着的烟|嘴里吐出烟圈|把白色粉末吸进鼻子|用针管往胳膊里打东西|吃了药片后飘飘欲仙|吃蘑菇后产生幻觉|在派对上吃彩色药片嗨起来|举着酒瓶摇摇晃晃|喝得走不动路倒在地上|偷偷卖一小包白粉给学生|闻胶水上瘾|小孩端着一大杯啤酒|"
        "给宝宝喝酒|在角落卷叶子抽|一口接一口吞云吐雾|打牌赌钱输光了|让未成年人试试烟的味道|抱着酒桶睡倒|口袋里藏着违禁药|做实验室里的违禁药品",
        "with a lit cigarette between the fingers|blowing smoke rings from tobacco|sniffs a line of white powder through a straw|puts a needle into the arm to feel good|takes pills to float and feel high|sees colours after eating strange mushrooms|takes coloured pills at a rave|"
        "staggering with a bottle of liquor|too intoxicated to walk|sells small bags of powder to students|sniffs glue to get a kick|a little kid with a big mug of beer|gives the baby alcohol|rolls leaves into paper and lights it to get high|puffing away on an e-cig|"
        "loses all money in cards and dice|lets a minor try smoking|passed out next to a barrel of rum|hides illegal pills in a pocket|cooks illegal substances in a lab|shoots up in an alley|is hooked on pills",
    ),
    "hate": (
        "都是猪应该被赶走|不配活在世上|因为皮肤黑被大家嘲弄|这种人没有资格当人|笑话他是残疾人|大家围着骂他丑|说女生天生笨|把外地人画成老鼠|不许黄种人进来的牌子|骂人的脏话|把她画丑让全班取笑|举着仇恨标语|讨厌所有信那个宗教的人|"
        "给同学起侮辱的外号|这个民族的人都是小偷|让矮个子同学出丑|叫胖子滚|说穷人是蟑螂|欺负新来的同学让他哭|他们都该死",
        "are pigs and should be driven out|do not deserve to live|is laughed at for dark skin|this kind of people is not human|making jokes about a person in a wheelchair to hurt him|everyone calls her ugly and laughs|girls are born stupid|foreigners drawn as rats|"
        "a sign that keeps out people of one race|a swear word in big letters|draw her ugly so the class can tease her|holding a sign full of hatred|hates everyone of that religion|gives a classmate an insulting nickname|all people from that country are thieves|"
        "embarrass the short kid in front of all|poor people are cockroaches|picks on the new kid until he cries|they all deserve to die|a poster against immigrants|nobody wants your kind here|you are a nobody and everybody hates you|insult my classmate in a picture",
    ),
    "self_harm": (
        "想要永远离开这个世界|站在桥边想往下跳|站在高楼边缘准备结束一切|用刀片在胳膊上划|手臂上一道道自己弄的伤|把自己挂起来|不吃饭把自己饿得皮包骨|吃掉一大把药片不想醒来|觉得活着没有意思想消失|走进海里不再回来|用头撞墙伤害自己|"
        "躺在马路中间等车压过来|写下最后的告别信|脖子上绕着绳子站在凳子上|把手伸进火里惩罚自己|再也不想醒过来|让自己流血|对着镜子伤害自己|打开煤气想一睡不醒",
        "wants to leave this world forever|stands on the edge of a bridge and wants to fall|at the edge of a tall building about to end everything|scratches the arm with a blade until it bleeds|arms full of cuts made by oneself|hangs from the ceiling by a rope|"
        "does not eat until only bones are left|takes too many pills to never wake up|feels life is not worth it and wants to disappear|walks into the sea to never return|hits the own head on the wall|lies on the road waiting for a car|writes a last goodbye letter before dying|"
        "on a stool with a rope around the neck|burns the own hand as punishment|never wants to wake up again|makes himself bleed|hurting oneself in front of a mirror|turns on the gas to sleep forever|is about to step in front of a train",
    ),
    "weapons": (
        "扣动扳机|瞄准人群|手里端着会打死人的家伙|把引线点燃等它炸|背着会爆炸的背包|把刀尖对准朋友|用弩瞄准别人|往瓶子里装汽油点火扔出去|铁管里装火药|端着黑色的长家伙对着路人|口袋里藏着锋利的刀去学校|坦克炮口对准房子里的人|给枪上膛|装满弹匣|"
        "教小朋友做会炸的东西|把致命的毒放进水里|用激光瞄准人的头|战斗机向城市投下炸弹",
        "pulls the trigger|aims at the crowd|holds something that shoots people|lights the fuse and waits for it to blow up|wears a backpack that will explode|points a blade at a friend|aims a crossbow at somebody|throws a burning bottle filled with gasoline|"
        "fills a pipe with powder to make it explode|points a long black barrel at people|hides a sharp knife to take to school|a tank aims at people in a house|loads the magazine|teaches kids to build things that explode|puts deadly poison into the water|"
        "a red laser dot on someone's head|a plane drops explosives on the city|an arsenal on the wall ready for war|cocks the trigger and takes aim at him",
    ),
}

SAFE_ACTS: tuple[str, str] = (
    "在吹泡泡|在看书|在画画|在睡觉|在弹吉他|在吃冰淇淋|戴着红色帽子|围着蓝色围巾|穿着漂亮的裙子|穿着新衣服|穿上外套|脱下鞋子|在洗手|在洗澡玩泡泡|在游泳|放风筝|堆雪人|踢足球|打篮球|扔皮球|扔飞盘|扔雪球|从滑梯上滑下来|跳到水坑里|跳绳|跳舞|唱歌|"
    "骑自行车|坐火车|看星星|抱着玩具|抱着妈妈|亲亲小狗|笑得很开心|哭了|摔倒了又站起来|吃西瓜|喝果汁|喝牛奶|切蛋糕|切水果|做饭|包饺子|打鼓|打伞|打招呼|拍照|剪纸|贴春联|点蜡烛|放烟花|看牙医|打针不怕疼|吃药快快好起来|量体温|躺在草地上晒太阳|躺在吊床上|"
    "倒在雪地里玩雪|在红色的花丛里|满身是泥|脸上沾着番茄酱|光着脚丫|露出肚皮|露出笑脸|挠痒痒|捉迷藏|从床底下找到玩具|从楼上看风景|把小鸟放回窝里|把小猫从树上救下来|把垃圾扔进垃圾桶|拿着魔法棒|拿着木剑玩|用水枪玩水|搭积木|种花|浇水|收玉米|砍柴|锯木头|"
    "拔萝卜|拔河|拔牙|变魔术|扮成小幽灵|戴着怪兽面具|长着尖尖的牙齿微笑|会喷火的小龙|和怪兽做朋友|打败坏人保护大家|穿盔甲|坐热气球|飞上天空|在月亮上|开挖掘机|开坦克玩具|当医生|当宇航员|当消防员|当警察|睡着了不动|在等公交车|在等火车|站在桥上看河|站在屋顶看烟花|写信给朋友|"
    "说再见|皮肤是绿色的|有黑色的眼睛|白色的头发|头上有一朵花|脖子上挂着项链|脖子上围着丝巾|手上戴着手套|在医院看望朋友|打扫房间|穿泳衣|穿内衣的包装盒|光头|胖胖的|黑皮肤的小朋友|坐轮椅的小朋友在笑|和不同肤色的朋友手拉手|下棋|打扑克|吹口哨|冒烟的烟囱|冒热气的茶",
    "is blowing bubbles|reading a book|painting a picture|sleeping|playing the guitar|eating ice cream|wearing a red hat|with a blue scarf|in a pretty dress|wearing new clothes|putting on a coat|takes off his shoes|washing hands|in a bubble bath|swimming|flying a kite|building a snowman|"
    "playing football|playing basketball|throwing a ball|throwing a frisbee|throwing snowballs|sliding down the slide|jumping into a puddle|skipping rope|dancing|singing|riding a bicycle|on a train|looking at the stars|hugging a toy|hugging mom|kissing a puppy on the nose|laughing happily|"
    "crying|fell down and stands up again|eating a watermelon|drinking juice|drinking milk|cutting a cake|cutting fruit|cooking|making dumplings|playing the drum|holding an umbrella|saying hello|taking a photo|cutting paper|lighting a candle|watching fireworks|at the dentist|gets a shot and is brave|"
    "takes medicine and gets well|lying on the grass in the sun|lying in a hammock|falls into the snow and laughs|among red flowers|covered in mud|with tomato sauce on the face|barefoot|showing the belly|with a big smile|being tickled|playing hide and seek|finds a toy under the bed|"
    "puts the bird back in the nest|rescues a kitten from a tree|throws the rubbish into the bin|with a magic wand|playing with a wooden sword|playing with water|building with blocks|planting flowers|watering plants|chopping wood|sawing wood|pulling carrots|in a tug of war|has a loose tooth|doing a magic trick|"
    "dressed as a little ghost|wearing a monster mask|smiling with pointy teeth|a little dragon that breathes fire|making friends with a monster|saves everyone from the bad guy|in armour|in a hot air balloon|flying in the sky|on the moon|driving an excavator|with a toy tank|as a doctor|as an astronaut|"
    "as a firefighter|as a policeman|asleep and not moving|waiting for the bus|waiting for the train|standing on a bridge over the river|on the roof watching fireworks|writing a letter to a friend|saying goodbye and waving|with green skin|with black eyes|with white hair|with a flower on the head|"
    "with a necklace around the neck|with a scarf around the neck|with gloves on the hands|visiting a friend in hospital|cleaning the room|in a swimsuit|with no hair|chubby and happy|a child with dark skin smiling|a child in a wheelchair smiling|holding hands with friends of all colours|playing chess|playing cards with grandpa|"
    "a chimney with smoke|a cup of hot tea|with nothing in the basket|with no hat|without shoes on the sand|has no tail|with a cold and a red nose|with red paint on the hands|paints with red colour|a red puddle of paint|red juice on the table|broken toy being repaired|broken arm in a cast with drawings on it",
)

SAFE_WHOLE: tuple[str, str] = (
    "把背景换成白色|去掉水印|删除右上角的标签|去掉桌子上的杯子|把衣服换成红色|把外套换成蓝色的|把裤子变短一点|换一件衬衫|去掉衣服上的污渍|把衣服上的字去掉|给人物穿上外套|去掉人物的影子|去掉照片里的路人|只留下衣服去掉衣架|把模特换成站姿|去掉手里的袋子|让皮肤更自然|去掉脸上的斑点|"
    "让杯子变透明|去掉瓶子里的水|把红色的液体改成蓝色|把布料换成棉麻|把包装上的文字擦掉|擦掉桌面上的水渍|把天空变亮|把头发变长|把泳衣换成绿色|商品放在木桌上|白底商品图|展示包包的细节|鞋子的特写|一瓶洗发水|一盒感冒药|刀叉和盘子|厨房刀具套装|剪刀和胶水|一把雨伞|一把椅子|一把吉他|一把钥匙|"
    "红色的颜料泼在画布上|番茄汁洒了一地|草莓酱面包|小手印画|骨头饼干|万圣节派对|南瓜灯笼|可爱的小幽灵|友好的小怪兽|生日快乐|新年快乐|圣诞节|中秋节|端午节|元宵节|动物园|海洋馆|博物馆里的恐龙化石|人体骨架教具|心脏模型|血液循环科普图|火箭发射|飞机模型|救护车|消防车|警车|"
    "狮子捕猎的纪录片|鲨鱼在海里游|老鹰飞翔|蛇在草丛|蜘蛛网|蚂蚁搬家|猫抓老鼠游戏|霸王龙吼叫|毛毛虫变蝴蝶|天空|大海|山|月亮|太阳|花|树|房子|汽车|苹果|猫|狗|鸟|鱼|画|你好|可爱|漂亮的风景|白纸|雪|云",
    "replace the background with white|remove the watermark|delete the label in the top right|take the cup off the table|make the shirt red|change the coat to blue|make the trousers shorter|put on another shirt|remove the stain from the shirt|remove the text on the clothes|give the person a coat|remove the shadow of the person|"
    "remove strangers from the photo|keep the clothes and remove the hanger|make the model stand|remove the bag in the hand|make the skin look natural|remove spots on the face|make the cup transparent|take the water out of the bottle|change the red liquid to blue|change the fabric to cotton|erase the text on the box|erase the water drops|"
    "brighten the sky|make the hair longer|make the swimsuit green|product on a wooden table|product photo on white|show the details of the bag|close-up of a shoe|a bottle of shampoo|a box of medicine|knife fork and plate|a set of kitchen knives|scissors and glue|an umbrella|a chair|a guitar|a key|"
    "red paint splashed on a canvas|tomato juice spilled on the floor|bread with strawberry jam|hand print art|bone shaped cookies|halloween party|pumpkin lantern|cute little ghost|friendly monster|happy birthday|happy new year|christmas|dragon boat|lantern|zoo|aquarium|dinosaur fossils in a museum|a model of the skeleton|a model of the heart|"
    "how blood flows, a science chart|a rocket in space|model plane|ambulance|fire truck|police car|a lion hunting in a documentary|a shark swimming|an eagle flying|a snake in the grass|spider web|ants carrying food|cat and mouse game|roaring dinosaur|caterpillar becomes butterfly|sky|sea|mountain|moon|sun|flower|tree|house|car|apple|cat|dog|bird|fish|drawing|hello|cute|"
    "beautiful landscape|blank paper|snow|cloud|a dog show|hands|face|portrait of my family|people in a market|a man with a beard|a woman with long hair|body lotion|make it darker|make it lighter|a black and white photo",
)


def acts(category: str | None, lang: int) -> list[str]:
    return (SAFE_ACTS if category is None else UNSAFE[category])[lang].split("|")


def compose(act: str, lang: int, rng: random.Random, who: bool | None = None) -> str:
    """An act with an actor, a place and an opening, each of them sometimes."""
    if lang == 0:
        name = rng.choice(WHO_ZH) if (rng.random() < 0.75 if who is None else who) else ""
        where = rng.choice(WHERE_ZH) if rng.random() < 0.35 else ""
        body = rng.choice([name + where + act, where + act + ("的" + name if name else "")])
        return rng.choice(HOW_ZH) + body if rng.random() < 0.3 else body
    name = rng.choice(WHO_EN) if (rng.random() < 0.75 if who is None else who) else ""
    where = rng.choice(WHERE_EN) if rng.random() < 0.35 else ""
    body = " ".join(x for x in (name, act, where) if x)
    return (rng.choice(HOW_EN) + " " + body).strip() if rng.random() < 0.3 else body

# What innocent wishes and edits are made of: every noun appears alone, with a colour, an act and in edits.
NOUNS_ZH = (
    "小红帽|大灰狼|白雪公主|灰姑娘|丑小鸭|小矮人|睡美人|孙悟空|猪八戒|哪吒|奥特曼|嫦娥|玉兔|花木兰|柯基犬|牧羊犬|可卡犬|贵宾犬|金毛犬|哈士奇|布偶猫|橘猫|黑猫|白天鹅|孔雀|鹦鹉|麻雀|燕子|喜鹊|乌鸦|啄木鸟|鸽子|鹅|驴|骡子|野猪|狼狗|斑马|羚羊|海豹|海狮|海星|珊瑚|小丑鱼|金鱼|锦鲤|蝌蚪|青蛙|蜗牛|毛毛虫|瓢虫|蜻蜓|蝉|萤火虫|螳螂|"
    "红烧肉|糖醋排骨|宫保鸡丁|鱼香肉丝|麻婆豆腐|口水鸡|白切鸡|叫花鸡|盐水鸭|北京烤鸭|酸菜鱼|水煮鱼|剁椒鱼头|毛血旺|血橙|猪肝|凉粉|冰粉|炸酱面|热干面|油条|豆浆|麻花|糖葫芦|老婆饼|绿豆糕|臭豆腐|啤酒鸭|醉虾|酒酿|粉丝汤|羊肉串|小龙虾|寿司|蛋挞|布丁|果冻|爆米花|"
    "小猫|小狗|小象|小鸟|小鱼|小马|小羊|小鹿|小龙|小蛇|毒蛇|响尾蛇|鳄鱼|鲨鱼|鲸鱼|蜘蛛|蝴蝶|蜜蜂|蚂蚁|青虫|蝙蝠|老鹰|猫头鹰|公鸡|母鸡|狮子|老虎|豹子|狼|狐狸|熊猫|考拉|袋鼠|犀牛|河马|大猩猩|海豚|章鱼|螃蟹|虾|水母|企鹅|骆驼|松鼠|刺猬|乌龟|恐龙|霸王龙|独角兽|凤凰|外星人|机器人|美人鱼|精灵|仙女|女巫|骑士|公主|国王|海盗|超人|"
    "警察|消防员|医生|护士|老师|厨师|农民|司机|宇航员|牙医|爷爷|奶奶|叔叔|阿姨|哥哥|姐姐|弟弟|妹妹|宝宝|小朋友|一家人|葫芦娃|雪人|稻草人|"
    "鸡腿|鸡翅|牛排|烤鸭|烤肉|烤鱼|全羊|肺片|豆腐|米饭|面条|油条|包子|饺子|馒头|蘑菇汤|番茄汤|火锅|蛋糕|饼干|糖果|棒棒糖|冰淇淋|巧克力|牛奶|果汁|可乐|茶|咖啡|红酒|苹果|香蕉|西瓜|草莓|葡萄|橙子|柠檬|土豆|萝卜|白菜|玉米|鸡蛋|月饼|粽子|汤圆|面包|披萨|汉堡|薯条|"
    "衣服|裙子|裤子|外套|毛衣|T恤|帽子|袜子|鞋子|手套|围巾|领带|包包|眼镜|手表|项链|胸针|戒指|发夹|雨衣|雨伞|毛巾|枕头|被子|床|沙发|桌子|椅子|台灯|窗帘|镜子|杯子|瓶子|盘子|刀叉|筷子|锅|水壶|冰箱|洗衣机|电视|手机|电脑|相机|耳机|吉他|钢琴|小提琴|鼓|足球|篮球|羽毛球|气球|积木|玩具车|洋娃娃|布偶|风筝|书包|铅笔|橡皮|本子|剪刀|胶水|书|贺卡|邮票|"
    "汽车|火车|飞机|轮船|自行车|摩托车|公交车|卡车|挖掘机|拖拉机|救护车|消防车|潜水艇|火箭|热气球|桥|房子|城堡|学校|医院|超市|游乐园|动物园|图书馆|电影院|露天电影|操场|教室|厨房|浴室|花园|农场|森林|草地|沙滩|大海|河流|湖|山|雪山|火山|瀑布|沙漠|天空|白云|彩虹|太阳|月亮|星星|闪电|打雷|下雨|下雪|大风|春天|夏天|秋天|冬天|花|玫瑰|向日葵|树|树叶|叶子|草|石头|贝壳|"
    "眼睛|大眼睛|鼻子|嘴巴|嘴唇|耳朵|头发|胡子|牙齿|手|胳膊|小胳膊|腿|脚丫|肚子|尾巴|翅膀|骨骼|骨头|心脏|血液|皮肤|大脑|身体|"
    "生日|派对|舞会|舞狮|龙舟|灯笼|烟花|鞭炮|春联|圣诞树|礼物|南瓜灯|彩蛋|婚礼|毕业|比赛|音乐|绘本|贴纸|图标|海报|科普图|简笔画|卡通画|油画|水彩画|照片|边框|黑边|白边|文字|标题|标志|logo|水印|标签|二维码|阴影|反光|背景|影子|褶皱|污渍|灰尘|电线|路人|行人|垃圾桶|价格|线条|图案"
).split("|")
NOUNS_EN = (
    "teacher|panda teacher|little red riding hood|goldilocks|cinderella|snow white|elf|dwarf|troll|giant|gnome|goblin|dragonfly|ladybug|caterpillar|snail|firefly|cricket|swan|goose|peacock|parrot|sparrow|robin|crow|pigeon|woodpecker|donkey|goat|zebra|antelope|seal|walrus|otter|beaver|raccoon|skunk|mole|rat|hamster|guinea pig|lizard|gecko|chameleon|crayfish|starfish|seahorse|ray|goldfish|poodle|bulldog|husky|corgi|spaniel|"
    "ginger beer|root beer|beer batter|wine glass|wine bottle|rum raisin|fruit punch|fruit cocktail|hot pot|hot cross bun|hot dog|chili|curry|stew|barbecue|ribs|turkey|ham|bacon|sausage|meatballs|lasagne|taco|burrito|sushi|tempura|ramen|tofu|bagel|muffin|waffle|pancake|doughnut|brownie|jelly|custard|pretzel|popcorn|peanut butter|jam|nuts|melons|cherries|plum|peach|pear|cucumber|pumpkin|onion|garlic|pepper|mustard|ketchup|"
    "analysis|document|class|archery|fencing|chess|karate|judo|wrestling|running race|swimming|skating|battle of snowballs|orchestra|choir|band|theatre|stage|museum|market|factory|office|street|garage|attic|basement|cellar|roof|window|door|stairs|fence|gate|well|fountain|statue|flag|map|compass|treasure chest|drawers|clock|bell|broom|bucket|ladder|saw|hammer|nail|screw|axe|shovel|rake|hose|tools|chainsaw|drill|wire|pipe|tank|cannon|rocket toy|shield|sword|bow|arrow|"
    "cat|dog|elephant|bird|fish|horse|sheep|deer|dragon|snake|crocodile|shark|whale|spider|butterfly|bee|ant|bug|beetle|bat|eagle|owl|rooster|hen|duck|lion|tiger|leopard|wolf|fox|panda|koala|kangaroo|rhino|hippo|gorilla|dolphin|octopus|crab|shrimp|jellyfish|penguin|camel|squirrel|hedgehog|turtle|toad|frog|moth|dinosaur|unicorn|phoenix|alien|robot|mermaid|fairy|witch|knight|princess|king|pirate|superhero|"
    "policeman|firefighter|doctor|nurse|teacher|cook|farmer|driver|astronaut|dentist|grandpa|grandma|uncle|aunt|brother|sister|baby|children|kids|family|snowman|scarecrow|friend|archer|dancer|clown|magician|"
    "chicken|wings|steak|roast beef|fish and chips|tofu|rice|noodles|bun|dumplings|bread|soup|mushroom soup|spinach|tomato|salad|sandwich|salmon|pie|pudding|cake|cookie|candy|lollipop|ice cream|chocolate|milk|juice|cola|tea|coffee|lemonade|ginger|apple|banana|bananas|watermelon|strawberry|grapes|orange|lemon|potato|carrot|cabbage|corn|egg|pizza|burger|marshmallows|honey|cheese|"
    "clothes|dress|skirt|trousers|pants|jacket|sweater|shirt|striped shirt|t-shirt|hat|socks|shoes|gloves|scarf|tie|bag|glasses|watch|necklace|ring|raincoat|umbrella|towel|pillow|blanket|bed|sofa|table|chair|lamp|curtain|mirror|cup|glass|bottle|plate|fork|knife and fork|chopsticks|pot|kettle|fridge|washing machine|tv|phone|computer|camera|headphones|guitar|piano|violin|drum|football|basketball|balloon|blocks|toy car|toy|puzzle|kite|backpack|pencil|eraser|notebook|journal|scissors|glue|lighter|book|card|stamp|"
    "car|train|plane|ship|bicycle|motorbike|bus|truck|excavator|tractor|ambulance|fire truck|submarine|rocket|hot air balloon|bridge|house|castle|tower|school|schoolyard|hospital|shop|park|zoo|library|cinema|playground|classroom|kitchen|bathroom|garden|farm|forest|meadow|beach|sea|pool|diving board|river|lake|mountain|volcano|waterfall|desert|sky|clouds|rainbow|sun|moon|stars|lightning|thunder|rain|rain puddles|snow|wind|spring|summer|autumn|winter|flower|rose|sunflower|tree|leaf|grass|stone|shell|hole|"
    "eyes|big eyes|nose|mouth|lips|ears|hair|beard|teeth|hands|arms|legs|feet|tummy|tail|wings|skeleton|bones|heart|blood|skin|brain|body|first steps|"
    "birthday|party|ball|dance|lantern|fireworks|christmas tree|present|pumpkin|easter egg|wedding|competition|music|picture book|sticker|icon|poster|science poster|sign|cartoon|oil painting|watercolour|photo|frame|border|black border|white border|text|title|logo|watermark|label|code|shadow|reflection|background|wrinkles|stain|dust|power lines|people in the background|bin|price|line|pattern|costume|donation|effort|edge|colour|corner|blemishes|stripes|everything else|quilt|calendar"
).split("|")
COLORS_ZH = "红色|橙色|黄色|绿色|蓝色|紫色|粉色|棕色|灰色|白色|黑色|银色|金色|透明|深色|浅色".split("|")
COLORS_EN = "red|orange|yellow|green|blue|purple|pink|brown|grey|white|black|silver|golden|transparent|dark|light|darker|brighter|softer|bigger|smaller|rounder".split("|")
ADJ_ZH = "可爱的|大大的|小小的|开心的|害怕的|傻乎乎的|笨笨的|勇敢的|漂亮的|毛茸茸的|胖胖的|古老的|彩色的|甜甜的|会飞的|生气的|爱笑的|小小|大大|圆圆的|方方的|高高的|矮矮的|长长的|短短的|新的|旧的|干净的|安静的|忙碌的|懒懒的|聪明的|饿了的|湿湿的|强壮的|害羞的|骄傲的|友好的|神奇的|孤单的|惊讶的|跳舞的|睡觉的|奔跑的|坐着的|站着的|读书的|唱歌的|吃东西的|".split("|")
ADJ_EN = "cute|big|little|happy|scared|afraid|silly|brave|beautiful|fluffy|chubby|old|colourful|sweet|flying|angry|smiling|funny|sleepy|high|great|small|tiny|large|huge|round|square|fast|slow|new|young|tall|short|long|soft|warm|cold|clean|shiny|kind|quiet|busy|lazy|clever|hungry|thirsty|wet|dry|strong|heavy|thin|thick|curly|proud|shy|calm|lovely|friendly|magic|wild|lonely|excited|surprised|dancing|sleeping|running|sitting|standing|jumping|reading|playing|singing|eating|".split("|")
EDIT_ZH = "去掉{}|删除{}|擦掉{}|切掉{}|移除{}|裁掉下面的{}|加上{}|给照片加上{}|给小猫换上{}|保留{}|只保留{}|去掉左下角的{}|删除图片右下角的{}|放大{}|缩小{}|把{}换成{c}的|把{}改成{c}|把{}放到左边|把{}移到中间|把{}放在桌子上|给{}加一点{}|把{}的颜色改深一点|把{}换成{}".split("|")
EDIT_EN = "remove the {}|delete the {}|erase the {}|cut off the {}|crop the {}|add a {}|keep only the {}|keep the {} and remove the {}|remove the {} from the {}|take the {} off the {}|make the {} {c}|change the {} to {c}|change her {} to a {}|swap the {} for a {c} one|move the {} to the left|put the {} on the table|get rid of the {}|smooth the {}|turn the {} into a {}|replace the {} with a {}|make it {c}|jump off the {}".split("|")
LINK_ZH = "{}和{}|{}在{}旁边|{}喜欢{}|{}拿着{}|{}看着{}|{}抱着{}|{}用{}玩|{}在指挥交通|{}摇{}|{}喝{}|{}吃{}|{}给{}洗澡|{}露出{}|{}在跑|{}在跳|{}害怕{}|{}涂{}|{}里的{}|{}上的{}".split("|")
LINK_EN = "a {} and a {}|a {} next to a {}|a {} with a {}|a {} with {}|a {} for a {}|a {} for {}|a {} in the {}|a {} on a {}|a {} of {}|the {} by the {}|{} running in the {}|{} jumping in {}|a {} jumping off a {}|a {} holding a {}|a {} brushing its {}|a {} from behind|a {} hanging in the {}|a {} afraid of {}|a {} over {}|cut the {}|{}".split("|")


WHO_NAMES = "kitten|puppy|bunny|teddy bear|duckling|man|woman|child|boy|girl|person|soldier|teacher|mother|father|student|model|old man|princess|panda|robot|fox".split("|")


# The plainest ways to wish, which words of other sentences must not tip over.
PLAIN_EN = "a {}|the {}|two {}s|three {}s|my {}|our {}|some {}s|draw a {} please|please draw a {}|I want a {}|I would like a {}|can you draw a {}|a {} that is {a}|the {} is {a}|a picture of a {}|show me a {}|a {} and its friends|this is a {}|here is my {}|a {} so that it looks {a}|it is a {a} {}|{a} {}s playing together|a very {a} {}|so {a}|one {} is {a} and one is {a}|a {} knows the way|that {} over there|a {} every day|a {} at home".split("|")
PLAIN_ZH = "一只{}|一个{}|两个{}|三只{}|我的{}|我们的{}|画一个{}|请画一只{}|我想要{}|我要一只{}|给我画{}|{}是{a}|很{a}{}|一张{}的图片|这是{}|那个{}|{}和它的朋友|{}每天都开心|家里的{}|{a}{}在一起玩".split("|")


def innocent(rng: random.Random, lang: int) -> str:
    """One composed innocent wish or edit."""
    nouns, adjectives, colors = (NOUNS_ZH + WHO_ZH * 3, ADJ_ZH, COLORS_ZH) if lang == 0 else (NOUNS_EN + WHO_NAMES * 6, ADJ_EN, COLORS_EN)

    def noun() -> str:
        name = rng.choice(nouns)
        if rng.random() < 0.3:
            name = (rng.choice(colors) + "的" + name) if lang == 0 else rng.choice(colors) + " " + name
        if rng.random() < 0.25:
            name = (rng.choice(adjectives) + name) if lang == 0 else (rng.choice(adjectives) + " " + name).strip()
        return name

    if rng.random() < 0.35:
        form = rng.choice((PLAIN_ZH, PLAIN_EN)[lang])
        while "{a}" in form:
            form = form.replace("{a}", rng.choice(adjectives) or "可爱的" if lang == 0 else rng.choice(adjectives) or "cute", 1)
        return form.format(*(noun() for _ in range(form.count("{}"))))
    roll = rng.random()
    form = rng.choice((EDIT_ZH, EDIT_EN)[lang] if roll < 0.45 else (LINK_ZH, LINK_EN)[lang])
    if roll > 0.85:
        form = "{}"
    form = form.replace("{c}", rng.choice(colors))
    return form.format(*(noun() for _ in range(form.count("{}"))))
