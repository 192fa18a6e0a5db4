"""Captions in old encodings: which it is, or that nobody can tell."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kizy.trainer.archives import Unreadable
from kizy.trainer.caption_files import CaptionFiles
from kizy.trainer.encodings import CAPTIONS, judge
from kizy.trainer.intake import ListedCaption
from kizy.trainer.limits import Limits

CHINESE = ("一个女孩站在窗边，长发，微笑", "红色连衣裙，蓝色背景", "海边的日落，橙色天空")
TAIWANESE = ("一個女孩站在窗邊，長髮，微笑", "紅色連衣裙，藍色背景", "海邊的日落，橙色天空")
JAPANESE = ("窓辺に立つ少女、長い髪、笑顔", "赤いドレス、青い背景", "海辺の夕日、表情")
KOREAN = ("창가에 서 있는 소녀, 긴 머리", "빨간 드레스, 파란 배경", "바닷가의 노을, 주황색 하늘")
RUSSIAN = ("девушка у окна, длинные волосы", "красное платье, синий фон", "закат на море")
UKRAINIAN = ("дівчина біля вікна, довге волосся", "червона сукня, синє тло", "кіт спить")
FRENCH = ("une fille à la fenêtre, été", "Straße im Regen, Häuser, Müllwagen", "café très crémeux")
QUOTED = ("a girl’s red dress – “portrait”", "the cat’s eyes, she’s smiling", "a cat")
POLISH = ("dziewczyna przy oknie, długie włosy, uśmiech", "zachód słońca", "kot śpi na łóżku")
GREEK = ("κορίτσι δίπλα στο παράθυρο", "κόκκινο φόρεμα, μπλε φόντο", "ηλιοβασίλεμα")
HEBREW = ("ילדה עומדת ליד החלון, שיער ארוך", "שמלה אדומה, רקע כחול", "שקיעה על הים")
ARABIC = ("فتاة تقف بجانب النافذة، شعر طويل", "فستان أحمر وخلفية زرقاء", "غروب الشمس")
THAI = ("ผู้หญิงยืนริมหน้าต่าง ผมยาว ยิ้ม", "ชุดเดรสสีแดง", "พระอาทิตย์ตกที่ทะเล")
TURKISH = ("pencerenin yanında duran kız", "kırmızı elbise, güneş batışı", "şehir ışıkları, yağmur")

SETS = [
    ("gb18030", CHINESE), ("gbk", CHINESE), ("big5", TAIWANESE), ("cp932", JAPANESE),
    ("euc_jp", JAPANESE), ("cp949", KOREAN), ("cp1251", RUSSIAN), ("cp1251", UKRAINIAN),
    ("koi8_r", RUSSIAN), ("cp866", RUSSIAN), ("cp1252", FRENCH), ("cp1252", QUOTED),
    ("cp1250", POLISH), ("cp1253", GREEK), ("cp1255", HEBREW), ("cp1256", ARABIC),
    ("cp874", THAI), ("cp1254", TURKISH),
]  # fmt: skip


def listed(encoding: str, texts: tuple[str, ...]) -> list[ListedCaption]:
    return [ListedCaption(text.encode(encoding)) for text in texts]


@pytest.mark.parametrize(("encoding", "texts"), SETS)
def test_captions_in_an_old_encoding_are_read_and_told(
    encoding: str, texts: tuple[str, ...]
) -> None:
    files = CaptionFiles(Limits())
    captions = listed(encoding, texts)
    (told,) = files.look(captions)
    assert [files.read(caption, "a") for caption in captions] == list(texts)
    assert texts[0][:20] in told
    assert "--captions-encoding" in told


@pytest.mark.parametrize("encoding", ["gb18030", "cp932", "big5", "cp949", "cp1251"])
def test_a_single_short_caption_is_never_taken_for_another(encoding: str) -> None:
    texts = {"gb18030": CHINESE, "cp932": JAPANESE, "big5": TAIWANESE, "cp949": KOREAN}
    for text in texts.get(encoding, RUSSIAN):
        found = judge([text.encode(encoding)], CAPTIONS).encoding
        assert found is None or text.encode(encoding).decode(found) == text


def test_bytes_without_a_meaning_are_of_no_encoding() -> None:
    rng = random.Random(0)
    for length in (4, 20, 60):
        texts = [rng.randbytes(length) for _ in range(5)]
        assert judge(texts, CAPTIONS).encoding is None


def test_captions_of_two_encodings_are_of_none() -> None:
    mixed = [CHINESE[0].encode("gb18030"), JAPANESE[0].encode("cp932"), RUSSIAN[0].encode("cp1251")]
    assert judge(mixed, CAPTIONS).encoding is None


def test_what_is_unsure_is_told_with_guesses_and_not_read() -> None:
    files = CaptionFiles(Limits())
    caption = ListedCaption("表".encode("cp932"))
    (told,) = files.look([caption])
    assert "1 caption is in an encoding that cannot be told for sure" in told
    assert "表" in told
    with pytest.raises(Unreadable, match="cannot be told"):
        files.read(caption, "a")


@pytest.mark.parametrize("name", ["shift_jis", "Shift-JIS", "cp932", "sjis"])
def test_the_encoding_that_was_said_decides(name: str) -> None:
    files = CaptionFiles(Limits(), name)
    caption = ListedCaption("①表".encode("cp932"))
    assert files.look([caption]) == []
    assert files.read(caption, "a") == "①表"


def test_what_is_utf_8_stays_so_whatever_was_said() -> None:
    files = CaptionFiles(Limits(), "gbk")
    assert files.read(ListedCaption("Kätzchen".encode()), "a") == "Kätzchen"


def test_what_the_said_encoding_cannot_read_is_refused() -> None:
    with pytest.raises(Unreadable, match="neither in UTF-8 nor in"):
        CaptionFiles(Limits(), "ascii").read(ListedCaption(b"caf\xe9"), "a")


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("1girl\nlong hair\nred dress", "1girl, long hair, red dress"),
        ("A girl stands by a window.\nShe smiles.", "A girl stands by a window. She smiles."),
        ("a cat\r\n on a sofa", "a cat on a sofa"),
    ],
)
def test_several_lines_are_read_as_one_and_told(text: str, caption: str) -> None:
    files = CaptionFiles(Limits())
    assert files.read(ListedCaption(text.encode()), "a.png") == caption
    assert files.notes == [("a.png", "has a caption of several lines: they are read as one")]


def test_what_is_cut_or_empty_is_told(tmp_path: Path) -> None:
    files = CaptionFiles(Limits(caption_letters=12))
    files.read(ListedCaption(b"word word word word"), "a.png")
    files.read(ListedCaption(b" \n"), "b.png")
    assert [source for source, _ in files.notes] == ["a.png", "b.png"]
    assert "is cut" in files.notes[0][1]
    assert "empty" in files.notes[1][1]
