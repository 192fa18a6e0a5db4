"""How surely captions in old encodings are told: alone, in sets of three and of fifteen.

    python benchmarks/caption_encodings.py

Prints for each encoding how many were told right, not at all, and wrong. The captions were written
for this: 15 a language, the same things in each.
"""

from __future__ import annotations

import random

from kizy.trainer.encodings import CAPTIONS, judge

SAMPLES: dict[str, list[str]] = {
    "gb18030": [
        "一个女孩站在窗边，长发，微笑",
        "红色连衣裙，蓝色背景",
        "海边的日落，橙色天空",
        "一只猫睡在沙发上",
        "古风少女手持油纸伞走在石桥上",
        "室内，柔和的光线，特写",
        "戴眼镜的年轻男子正在看书",
        "雪山下的湖泊倒映着星空",
        "水彩画风格的街道",
        "穿校服的学生在樱花树下",
        "侧面，黑色短发，白色衬衫",
        "夜晚的城市，霓虹灯，下雨",
        "机械战士手握长剑",
        "咖啡杯放在木桌上",
        "小狗在草地上奔跑",
    ],
    "big5": [
        "一個女孩站在窗邊，長髮，微笑",
        "紅色連衣裙，藍色背景",
        "海邊的日落，橙色天空",
        "一隻貓睡在沙發上",
        "古風少女手持油紙傘走在石橋上",
        "室內，柔和的光線，特寫",
        "戴眼鏡的年輕男子正在看書",
        "雪山下的湖泊倒映著星空",
        "水彩畫風格的街道",
        "穿校服的學生在櫻花樹下",
        "側面，黑色短髮，白色襯衫",
        "夜晚的城市，霓虹燈，下雨",
        "機械戰士手握長劍",
        "咖啡杯放在木桌上",
        "小狗在草地上奔跑",
    ],
    "cp932": [
        "窓辺に立つ少女、長い髪、笑顔",
        "赤いドレス、青い背景",
        "海辺の夕日、オレンジ色の空",
        "ソファで眠る猫",
        "和傘を持つ着物の女性",
        "室内、やわらかい光、クローズアップ",
        "眼鏡をかけた青年が本を読んでいる",
        "雪山の湖に映る星空",
        "水彩画風の街並み",
        "桜の木の下の制服の学生",
        "横顔、黒髪ショート、白いシャツ",
        "夜の街、ネオン、雨",
        "剣を構えるロボット",
        "木の机の上のコーヒーカップ",
        "草原を走る子犬",
    ],
    "cp949": [
        "창가에 서 있는 소녀, 긴 머리, 미소",
        "빨간 드레스, 파란 배경",
        "바닷가의 노을, 주황색 하늘",
        "소파에서 자는 고양이",
        "우산을 든 한복 입은 여자",
        "실내, 부드러운 빛, 클로즈업",
        "안경을 쓴 청년이 책을 읽고 있다",
        "설산 아래 호수에 비친 별하늘",
        "수채화 풍의 거리",
        "벚꽃나무 아래의 교복 입은 학생",
        "옆모습, 짧은 검은 머리, 흰 셔츠",
        "밤의 도시, 네온, 비",
        "검을 든 로봇",
        "나무 탁자 위의 커피잔",
        "풀밭을 달리는 강아지",
    ],
    "cp1251": [
        "девушка стоит у окна, длинные волосы, улыбка",
        "красное платье, синий фон",
        "закат на море, оранжевое небо",
        "кот спит на диване",
        "женщина в кимоно с зонтом",
        "в комнате, мягкий свет, крупный план",
        "молодой человек в очках читает книгу",
        "звёздное небо над горным озером",
        "улица, акварель",
        "школьница под сакурой",
        "профиль, короткие чёрные волосы, белая рубашка",
        "ночной город, неон, дождь",
        "робот с мечом",
        "чашка кофе на деревянном столе",
        "щенок бежит по траве",
    ],
    "cp1252": [
        "une fille à la fenêtre, cheveux longs, été",
        "ein Mädchen mit grünen Augen, lächelnd",
        "puesta de sol en la montaña, cielo añil",
        "um gato dormindo no sofá, iluminação suave",
        "Straße im Regen, Häuser, Müllwagen",
        "café crème sur une table en bois",
        "mujer joven leyendo, corazón, sueño",
        "homme âgé, barbe très longue",
        "Schloss über dem Fluss, schöne Brücke",
        "l'hôtel près de la forêt",
        "perché il caffè è così",
        "menina de cabelo castanho, expressão séria",
        "flicka på en äng, blå himmel",
        "une rivière gelée, décembre",
        "kjøkken med røde blomster",
    ],
    "cp1250": [
        "dziewczyna przy oknie, długie włosy, uśmiech",
        "czerwona sukienka, niebieskie tło",
        "zachód słońca nad morzem",
        "kot śpi na kanapie, miękkie światło",
        "dívka u okna, dlouhé vlasy, úsměv",
        "červené šaty, modré pozadí",
        "kočka spí na pohovce",
        "ulica w deszczu, akwarela",
        "młody mężczyzna czyta książkę",
        "źrebię biegnie przez łąkę",
        "noční město, déšť",
        "žlutý květ",
        "gwiaździste niebo nad jeziorem",
        "černé krátké vlasy",
        "piękna kobieta",
    ],
}
SAMPLES |= {
    "euc_jp": SAMPLES["cp932"],
    "koi8_r": SAMPLES["cp1251"],
    "cp866": SAMPLES["cp1251"],
}


def told(encoding: str, texts: list[str]) -> str:
    """ "right", "unsure" or "wrong"."""
    data = [text.encode(encoding) for text in texts]
    found = judge(data, CAPTIONS).encoding
    if found is None:
        return "unsure"
    return "right" if [part.decode(found) for part in data] == texts else "wrong"


def main() -> None:
    rng = random.Random(0)
    for encoding, texts in SAMPLES.items():
        for size in (1, 3, 15):
            sets = {1: [[text] for text in texts], 15: [texts]}.get(size)
            sets = sets or [rng.sample(texts, size) for _ in range(20)]
            answers = [told(encoding, chosen) for chosen in sets]
            counts = ", ".join(f"{answers.count(x)} {x}" for x in ("right", "unsure", "wrong"))
            print(f"{encoding:8} sets of {size:2}: {counts}")


if __name__ == "__main__":
    main()
