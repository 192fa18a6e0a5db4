"""A glossary: what painters, photographers and players call things, in several languages.

Each line: the English word, then other English words for it, then (after a semicolon) words of
other languages: German, French, Spanish, Italian, Japanese. It joins words that mean the same
("sumi-e", "ink wash"), keeps apart what only looks alike (gouache is no watercolor), and carries
wishes in other languages over to the English of most cards. General knowledge, written by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

TermKind = Literal["style", "technique", "thing"]

ART_FILES = tuple(Path(__file__).parent / "dictionary" / name for name in ("art.txt", "things.txt"))

_STYLES = """
ink wash = ink wash painting, zen brushwork, sesshu, ink painting, sumi-e, sumie, sumi ink,
    suibokuga, shan shui, shanshui, brush and ink, ink brush, chinese ink ; tuschmalerei,
    tuschezeichnung, lavis, encre de chine, tinta china, aguada, 水墨画, 墨絵, 山水画
watercolor = watercolor painting, aquarelle, wet-on-wet, wet on wet ; aquarell, aquarellfarben,
    wasserfarben, acuarela, acquerello, 水彩, 水彩画
gouache = ; guasch, guache, ガッシュ
oil painting = oil on canvas, oil paint, oils, painted in oil ; ölgemälde, ölbild, ölfarben,
    peinture a l'huile, pintura al oleo, oleo, olio su tela, 油絵
impasto = van gogh, palette knife, thick paint, thick strokes ; spachtelmasse, empate, empatee,
    empaste
acrylic painting = acrylic, acrylics ; acrylbild, acrylique, acrilico
tempera = egg tempera ; temperamalerei
fresco = mural painting, giotto, michelangelo, chapel ceiling ; freske, fresque, フレスコ
encaustic = hot wax painting, encaustic wax ; enkaustik
charcoal = charcoal drawing, charcoal sketch ; kohlezeichnung, fusain, carboncillo, carboncino, 木炭
pencil drawing = pencil sketch, graphite drawing, pencil, graphite ; bleistiftzeichnung,
    bleistift, dessin au crayon, dibujo a lapiz, lapiz, 鉛筆画
colored pencil = colour pencil, color pencil ; buntstift, farbstift, crayon de couleur, lapices de
    colores, 色鉛筆
crayon = wax crayon, wax crayons, kids drawing, child drawing, child's drawing, children's drawing
    ; wachsmalstift, wachsmalstiften, wachsmaler, kinderzeichnung, crayons de cire, dessin
    d'enfant, クレヨン
pastel drawing = chalk pastel, dry pastel, soft pastel, oil pastel, pastels ; pastellkreide,
    pastellzeichnung, dibujo al pastel, パステル画
chalkboard = blackboard, chalk drawing ; kreidetafel
pen and ink = ink drawing, pen drawing, ink pen, fineliner, nib ; federzeichnung, tuschestift,
    dessin a la plume, dibujo a pluma
line art = lineart, line drawing, outline drawing, monoline ; strichzeichnung, 線画
coloring book = ; ausmalbild, malbuch, coloriage, para colorear, ぬりえ
sketch = rough sketch, urban sketch, sketchbook ; skizze, croquis, esquisse, boceto, スケッチ
calligraphy = hand lettering, lettering ; kalligrafie, kalligraphie, calligraphie, caligrafia, 書道
etching = engraving, piranesi, copperplate engraving, cross-hatching, crosshatching, steel
    engraving, intaglio, dore ; radierung, kupferstich, gravure, eau-forte, grabado, aguafuerte,
    銅版画
woodcut = woodcut print, durer, wood engraving, xylography ; holzschnitt, gravure sur bois,
    xilografia, 木版画
linocut = block print, lino print, relief print, lino ; linolschnitt, linogravure, linograbado,
    linoleografia, リノカット
ukiyo-e = ukiyoe, japanese woodblock, woodblock print, hokusai, hiroshige, edo period print ;
    estampe, estampe japonaise, 浮世絵
screen print = silkscreen, serigraphy ; siebdruck, serigraphie, serigrafia
risograph = riso, riso print ; risographie
letterpress = ; buchdruck
lithograph = lithography ; lithografie, litografia
cyanotype = ; zyanotypie
blueprint = technical drawing, blueprints ; blaupause, technische zeichnung, bauplan, dessin
    technique, plano tecnico, 設計図
infographic = diagram, exploded view ; schaubild
map = fantasy map, old map ; landkarte
botanical illustration = botanical plate, botanical plates ; botanische illustration, planche
    botanique, ilustracion botanica
scientific illustration
stained glass = leaded glass, church window, cathedral window ; buntglas, glasmalerei,
    kirchenfenster, bleiglasfenster, vitrail, vitraux, vitral, vidriera, ステンドグラス
mosaic = tesserae ; mosaik, mosaique, mosaico, モザイク
papercut = paper cut, paper cut-out, paper cut-outs, cut paper, layered paper, paper cutting ;
    scherenschnitt, papierschnitt, papier decoupe, papel recortado, 切り絵
paper quilling = quilling, rolled paper, paper strips ; filigrana de papel
origami = folded paper, paper folding ; gefaltetes papier, papier plie, papel plegado,
    papiroflexia, 折り紙
papercraft = paper craft, cardboard, paper mache ; pappe, pappmache, carton
collage = photo collage
embroidery = embroidered, cross-stitch, cross stitch, stitched patch, needlework ; stickerei,
    gestickt, broderie, brode, bordado, ricamo, 刺繍
knitted = knitting, knit, crochet, crocheted, amigurumi, yarn ; gestrickt, gehäkelt, tricot,
    tricote, tejido, 編み物
felt = felted, needle felt, needle felted, wool felt ; filz, gefilzt, feutre, fieltro, フェルト
plush = plush toy, plushie, stuffed animal, stuffed toy, cuddly toy, soft toy ; plüsch,
    plüschtier, kuscheltier, stofftier, peluche, ぬいぐるみ
patchwork = quilt, quilted
tapestry = ; wandteppich, tapisserie, tapiz
claymation = aardman, clay animation, plasticine, clay, stop motion, stop-motion, modelling clay,
    play dough ; knete, knetfigur, knetanimation, pate a modeler, plastilina, 粘土, クレイアニメ
toy bricks = brick toy, lego, lego bricks, plastic bricks, building bricks, bricks ;
    klemmbausteine
puppet = puppetry, marionette, paper theatre, puppet theatre
porcelain = ; porzellan, porcelaine, porcelana
woodcarving = wood carving, carved wood ; holzschnitzerei
paper doll
gold foil = gold leaf, gilded, gold embossed ; blattgold, feuille d'or, pan de oro
pixel art = pixelart, 8-bit, 16-bit, 8 bit, 16 bit, pixel sprite, sprite ; pixelkunst, ドット絵
voxel = voxel art ; ボクセル
low poly = lowpoly, low-poly, polygonal, ps1, playstation graphics ; ローポリ
3d render = 3d rendering, cgi, octane render, blender render ; 3d-grafik, rendu 3d
isometric = isometry, isometric view, diorama ; isometrisch, isometrique
vector art = flat design, flat illustration, vector illustration, flat color, flat colors ;
    vektorgrafik
sticker = die-cut sticker, vinyl sticker, die cut ; aufkleber, autocollant, pegatina, ステッカー
icon = app icon ; symbolbild, icono, icone
logo = emblem
graffiti = street art, spray paint
tattoo = tattoo flash, blackwork ; tätowierung, tatouage, tatuaje, タトゥー
tarot card = tarot ; tarotkarte, carte de tarot, carta de tarot
playing card = ; spielkarte
poster = flyer, placard ; plakat, affiche, cartel
pulp cover = pulp magazine, pulp, magazine cover, paperback cover, book cover
propaganda poster = constructivism, constructivist
movie poster = film poster ; filmplakat
cinematic = film still, movie still, cinema still, anamorphic ; filmszene, standbild, fotograma
analog photo = analog film, film grain, disposable camera, 35mm film, grainy film, film
    photography ; analogfoto, argentique, pelicula analogica, フィルム写真
polaroid = instant film, instant photo, instax ; sofortbild, photo instantanee, ポラロイド
amateur photo = phone photo, cellphone picture, phone snapshot, phone camera, snapshot, smartphone
    photo ; handyfoto, schnappschuss
street photography = street photo, street photograph ; strassenfotografie, photo de rue
black and white = monochrome, black-and-white, b&w ; schwarzweiss, schwarz-weiss, noir et blanc,
    blanco y negro, 白黒
daguerreotype = tintype, wet plate
anime = anime style, japanese animation ; アニメ
90s anime = anime screencap, nineties anime
80s anime = eighties anime, retro anime, cel anime
cel shading = cel shaded, toon shading ; セルルック
manga = screentone, shoujo, shonen ; mangaseite, 漫画
chibi = super deformed ; ちび, ちびキャラ
comic = comic book, comic strip, halftone, ben-day dots ; comicheft, bande dessinee, historieta,
    tebeo, fumetto, アメコミ
ligne claire = clear line, belgian comic, herge, tintin
noir = film noir, noir comic
cartoon = rubber hose ; zeichentrick, dessin anime, dibujos animados, カートゥーン
handwriting = ; handschrift
storybook = children's book, childrens book, picture book, bedtime story, storybook illustration ;
    kinderbuch, bilderbuch, märchenbuch, livre pour enfants, cuento infantil, 絵本
art nouveau = mucha, klimt, belle epoque ; jugendstil, modernismo, stile liberty,
    アールヌーボー
art deco = roaring twenties, 1920s luxury, gatsby ; アールデコ
bauhaus = kandinsky, moholy-nagy; バウハウス
impressionism = impressionist, monet, renoir, pissarro ; impressionismus, impressionniste,
    impresionismo, 印象派
expressionism = expressionist, munch, kirchner ; expressionismus
cubism = cubist, picasso, braque ; kubismus, cubisme, cubismo
surrealism = surreal, surrealist, dali, magritte ; surrealismus, surrealismo
pop art = warhol, lichtenstein; popart
pointillism = pointillist, seurat, signac ; pointillisme, puntillismo
dutch golden age = old master, old masters, rembrandt, vermeer, baroque painting ; alter meister,
    altmeister, maitre ancien, siglo de oro holandes
renaissance = botticelli, raphael, da vinci
medieval manuscript = illuminated manuscript, medieval illumination ; buchmalerei, enluminure
folk art = rosemaling ; volkskunst, bauernmalerei, art populaire, arte popular
psychedelic = trippy, hippie ; psychedelisch, psychedelique, psicodelico, サイケデリック
vaporwave = synthwave, outrun, retrowave ; ヴェイパーウェイヴ
cyberpunk = neon city, megacity, blade runner ; サイバーパンク
steampunk = ; スチームパンク
solarpunk
dark fantasy = grimdark
gothic = gothic horror ; gotisch, gothique, gotico, ゴシック
retro sci-fi = retrofuturism, 70s sci-fi, retro science fiction, raygun gothic, atomic age ;
    retrofuturismus
glitch = glitch art, vhs, vcr, datamosh, video tape ; グリッチ
neon sign = neon tube, neon tubes, glowing tubes, tube letters ; leuchtreklame, neonschild,
    enseigne au neon, letrero de neon, ネオンサイン
"""

_TECHNIQUES = """
double exposure = multiple exposure ; doppelbelichtung, doble exposicion,
    二重露光
tilt-shift = tilt shift, tiltshift, miniature effect, toy model
macro = extreme close-up, extreme closeup, macro photography, macro lens ; makro, makroaufnahme,
    makrofoto, マクロ
fisheye = fish-eye, fish eye ; fischauge, ojo de pez, 魚眼
bokeh = blurred background, shallow depth of field ; hintergrundunschärfe, ボケ
long exposure = light trails, light trail ; langzeitbelichtung, pose longue, larga exposicion,
    長時間露光
motion blur = ; bewegungsunschärfe
infrared = infra-red ; infrarot, infrarouge, infrarrojo, 赤外線
x-ray = xray, radiograph, radiography ; röntgenbild, radiographie, radiografia, レントゲン
drone shot = aerial view, aerial, bird's-eye view, birds-eye view, from high above ; luftbild,
    vogelperspektive, vue aerienne, vista aerea, 空撮
top-down view = straight above, overhead view, flat lay, topdown, top down, straight down ; von
    oben, vu du dessus, vista cenital, 真上
golden hour = evening glow, setting sun, low evening sun, warm low sun, warm evening light ;
    goldene stunde, heure doree, hora dorada, 夕日
rim light = rim lighting, edge light, rimlight ; kantenlicht
backlight = backlit, against the light, silhouette, silhouettes, contre-jour ; gegenlicht,
    contraluz, 逆光
low key = lowkey, chiaroscuro, caravaggio, tenebrism, deep shadows, single lamp, one lamp ;
    hell-dunkel, clair-obscur, claroscuro
god rays = godrays, volumetric light, volumetric, light shafts, sunbeams, light beams, beams of
    light, crepuscular rays ; lichtstrahlen, rayons de lumiere, rayos de luz, 光芒
hard flash = direct flash, on-camera flash ; blitzlicht
studio light = studio lighting, softbox ; studiolicht
neon light = duotone light, two coloured lights ; neonlicht
fog = mist, misty, foggy, haze ; nebel, brouillard, brume, niebla, 霧
detail = more detail, add detail, highly detailed, fine detail ; mehr details, details fins
hands = better hands, perfect hands, fingers
skin texture = skin pores, skin
readable text = readable lettering, typography
outline = thick outline, black contour, bold contour ; umriss, contour noir, contorno
speed = lcm, turbo, lightning, hyper, few steps, 4 steps, 8 steps
"""

_THINGS = """
cat = kitty, kitten, tabby ; katze, kater, kätzchen, chat, chaton, gato, gatto, 猫, ネコ
dog = puppy, doggy ; hund, welpe, chien, perro, cane, 犬
fox = ; fuchs, renard, zorro, volpe, 狐
kitsune = fox girl, fox spirit
wolf = ; loup, lobo, 狼
bear = ; bär, ours, oso, orso, 熊
horse = ; pferd, cheval, caballo, 馬
bird = ; vogel, oiseau, pajaro, ave, 鳥
owl = ; eule, hibou, chouette, buho, lechuza, フクロウ
rooster = cockerel ; hahn, coq, gallo, おんどり
raven = crow ; rabe, corbeau, cuervo, カラス
crane bird = ; kranich, 鶴
heron = ; reiher, garza, サギ
puffin = ; papageitaucher, macareux, frailecillo
otter = ; fischotter, loutre, nutria, カワウソ
badger = ; dachs, blaireau, tejon
hedgehog = ; igel, herisson, erizo
mouse = ; maus, souris, raton, ネズミ
rabbit = bunny, hare ; hase, kaninchen, lapin, conejo, ウサギ
elephant = ; elefant, elefante, ゾウ
whale = ; wal, baleine, ballena, 鯨
fish = ; fisch, poisson, pez, 魚
koi = koi carp, carp ; karpfen, carpe, carpa, 鯉
jellyfish = medusa, medusae ; qualle, quallen, meduse, クラゲ
frog = tree frog ; frosch, laubfrosch, grenouille, rana, カエル
snail = ; schnecke, escargot, caracol
gecko = ; gecko leopard
insect = ; insekt, insecte, insecto, 虫
butterfly = ; schmetterling, papillon, mariposa, 蝶
bee = ; biene, abeille, abeja
dragon = wyvern, fire-breathing reptile ; drache, drachen, dragón, drago, 竜, ドラゴン
unicorn = ; einhorn, licorne, unicornio
robot = android ; roboter, ロボット
mecha = mech ; メカ
knight = ; ritter, chevalier, caballero, cavaliere, 騎士
samurai = ; samourai, samurái, 侍
armor = armour, plate armour ; rüstung, armure, armadura, 鎧
witch = ; hexe, sorciere, bruja, 魔女
ghost = ; gespenst, fantome, fantasma, 幽霊
vampire = dracula, nosferatu; vampir, vampiro
pirate = ; pirat, pirata, 海賊
astronaut = cosmonaut, spaceman ; kosmonaut, astronaute, astronauta, 宇宙飛行士
spacesuit = space suit ; raumanzug, combinaison spatiale, traje espacial, 宇宙服
doll = ; puppe, poupee, muneca, 人形
nesting doll = matryoshka, russian doll ; matroschka, matrioska
clockmaker = watchmaker ; uhrmacher, horloger, relojero
castle = ; schloss, burg, chateau, castillo, 城
house = ; haus, maison, casa, 家
cottage = hut ; hütte, häuschen, chaumiere, cabana
treehouse = tree house ; baumhaus, cabane dans les arbres, casa en el arbol, ツリーハウス
lighthouse = ; leuchtturm, phare, faro, 灯台
windmill = ; windmühle, moulin a vent, molino de viento, 風車
greenhouse = palm house, conservatory ; gewächshaus, serre, invernadero, 温室
church = ; kirche, eglise, iglesia
city = town ; stadt, ville, ciudad, 街, 都市
brutalist = brutalism, brutalist architecture, raw concrete ; brutalismus, brutalisme, brutalismo
cave = cavern, grotto ; höhle, grotte, cueva, 洞窟
crystal = ; kristall, kristalle, cristal, cristaux, cristales, 水晶
forest = woods ; wald, foret, bosque, 森
mountain = ; berg, berge, montagne, montana, 山
waterfall = ; wasserfall, cascade, cascada, 滝
sea = ocean ; meer, mer, mar, 海
river = ; fluss, riviere, rio, 川
night sky = starry sky, milky way, stars ; sternenhimmel, ciel etoile, cielo estrellado, 星空
tea room = teahouse, tatami, tea house ; teehaus, maison de the, 茶室
ballroom = ; ballsaal, salle de bal, salon de baile
maid cafe = ; メイドカフェ
car = automobile ; auto, voiture, coche, carro, 車
scooter = vespa, motor scooter ; motorroller, motoneta, スクーター
bicycle = bike ; fahrrad, velo, bicicleta, 自転車
train = ; zug, tren, treno, 電車
tram = tramway, streetcar ; strassenbahn, tranvia, 路面電車
airship = zeppelin, dirigible ; luftschiff, dirigeable, dirigible, 飛行船
ship = sailing ship ; schiff, navire, barco, nave, 船
rocket = ; rakete, fusee, cohete, ロケット
carousel = merry-go-round, merry go round ; karussell, manege, tiovivo, carrusel,
    メリーゴーランド
typewriter = ; schreibmaschine, machine a ecrire, maquina de escribir
mushroom = fungi, fungus, toadstool ; pilz, pilze, champignon, seta, キノコ
bonsai = potted tree, miniature tree ; 盆栽
orchid = ; orchidee, orquidea, 蘭
flower = ; blume, blumen, fleur, flor, 花
tree = ; baum, arbre, arbol, 木
bread = loaf, sourdough, baguette ; brot, pain, pan de molde, パン
sushi = nigiri, maki ; 寿司
pumpkin = jack-o-lantern ; kürbis, citrouille, calabaza
kintsugi = mended with gold ; 金継ぎ
apple = ; apfel, pomme, manzana, りんご
teapot = ; teekanne, theiere, tetera
dress = gown ; kleid, vestido, ドレス
goggles = ; schutzbrille
portrait = ; porträt, bildnis, retrato, ritratto, 肖像
woman = ; frau, femme, mujer, donna, 女性
man = ; mann, homme, hombre, uomo, 男性
girl = ; mädchen, fille, nina, 少女
boy = ; junge, garcon, nino, 少年
rain = rainy ; regen, pluie, lluvia, 雨
night = ; nacht, nuit, noche, 夜
neon = ; ネオン
"""


@dataclass(frozen=True)
class Term:
    """`name`: the English word. `same`: other English words. `foreign`: in other languages.

    `meaning`: what it is, as somebody would say who lacks the word; empty for most things.
    """

    name: str
    kind: TermKind
    same: tuple[str, ...]
    foreign: tuple[str, ...]
    meaning: str = ""


def _read(lines: str, kind: TermKind) -> list[Term]:
    terms = []
    for line in lines.strip().replace("\n    ", " ").splitlines():
        name, _, rest = line.partition(" = ")
        same, _, foreign = rest.partition(";")
        terms.append(Term(name.strip(), kind, _words(same), _words(foreign)))
    return terms


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


_KINDS: dict[str, TermKind] = {
    "[style]": "style",
    "[technique]": "technique",
    "[thing]": "thing",
}


def _described(terms: list[Term]) -> list[Term]:
    """The terms with other words and meanings from `dictionary/`, and its own terms."""
    known = {term.name: term for term in terms}
    kind: TermKind = "style"
    read = (file.read_text(encoding="utf-8").splitlines() for file in ART_FILES)
    for line in chain.from_iterable(read):
        if line.startswith("["):
            kind = _KINDS[line]
        elif line and not line.startswith("#"):
            name, _, rest = line.partition(" = ")
            same, _, meaning = rest.partition(": ")
            old = known.get(name, Term(name, kind, (), ()))
            both = tuple(dict.fromkeys((*old.same, *_words(same))))
            known[name] = replace(old, same=both, meaning=meaning.strip())
    return list(known.values())


TERMS: tuple[Term, ...] = tuple(
    _described(
        [
            *_read(_STYLES, "style"),
            *_read(_TECHNIQUES, "technique"),
            *_read(_THINGS, "thing"),
        ]
    )
)

STYLE_NAMES = frozenset(term.name for term in TERMS if term.kind == "style")
