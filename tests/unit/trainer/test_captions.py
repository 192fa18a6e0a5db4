from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kizy.core.errors import CancelledError
from kizy.trainer.archives import Unreadable
from kizy.trainer.caption_files import CaptionFiles
from kizy.trainer.captions import CaptionFailed, Captions, caption_all, with_trigger
from kizy.trainer.intake import FileContent
from kizy.trainer.limits import Limits, never


@dataclass
class Scripted:
    """A captioner that says, or fails with, one thing after the other; then "seen"."""

    answers: list[str | CaptionFailed] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def caption(self, picture: Path, hint: str, cancelled: Callable[[], bool]) -> str:
        self.hints.append(hint)
        answer = self.answers.pop(0) if self.answers else "seen"
        if isinstance(answer, CaptionFailed):
            raise answer
        return answer


def captions(
    own: list[str | None],
    captioner: Scripted | None = None,
    about: str = "a tabby",
    cancelled: Callable[[], bool] = never,
) -> Captions:
    return caption_all(
        [(Path("x.png"), text) for text in own],
        "mimicat",
        about,
        hint="Mimi",
        captioner=captioner,
        tell=lambda done: None,
        cancelled=cancelled,
    )


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("a cat", "mimicat, a cat"),
        ("", "mimicat"),
        ("mimicat on a sofa", "mimicat on a sofa"),
        ("photo of Mimicat, a cat", "photo of mimicat, a cat"),
        ("mimicat, cat, mimicat, sofa", "mimicat, cat, sofa"),
        ("mimicats", "mimicat, mimicats"),
    ],
)
def test_a_caption_holds_the_trigger_once(caption: str, wanted: str) -> None:
    assert with_trigger(caption, "mimicat") == wanted


def test_signs_in_a_trigger_are_only_signs() -> None:
    assert with_trigger("a.b", "a+b") == "a+b, a.b"


def test_own_captions_come_first_then_the_captioner_then_the_description() -> None:
    assert captions(["one", "two"]).come_from == "files"
    assert captions([None, None]) == Captions(("mimicat, a tabby",) * 2, "description")
    found = captions(["one", None], Scripted())
    assert found == Captions(("mimicat, one", "mimicat, seen"), "mixed")
    assert captions([None], Scripted()).come_from == "endpoint"


def test_without_anything_the_trigger_alone_is_the_caption() -> None:
    assert captions([None], about="").texts == ("mimicat",)


def test_a_captioner_that_fails_gives_way_to_the_description_and_it_is_said() -> None:
    found = captions([None, None], Scripted([CaptionFailed("it does not answer")]))
    assert found.texts == ("mimicat, a tabby", "mimicat, seen")
    assert found.complaint == "1 picture has the description as caption: it does not answer."


def test_a_captioner_that_keeps_failing_is_asked_no_more() -> None:
    captioner = Scripted([CaptionFailed("busy")] * 3)
    found = captions([None] * 9, captioner)
    assert len(captioner.hints) == 3
    assert str(found.complaint).startswith("9 pictures have")
    refused = Scripted([CaptionFailed("no", for_good=True)])
    captions([None] * 9, refused)
    assert len(refused.hints) == 1


def test_captioning_can_be_cancelled() -> None:
    with pytest.raises(CancelledError):
        captions([None], Scripted(), cancelled=lambda: True)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"a cat\r\n  on a sofa \n", "a cat on a sofa"),
        ("Kätzchen".encode(), "Kätzchen"),
        ("Kätzchen".encode("utf-8-sig"), "Kätzchen"),
        ("Kätzchen".encode("utf-16"), "Kätzchen"),
        ("Kätzchen".encode("utf-16-le"), "Kätzchen"),
        ("猫".encode("utf-32"), "猫"),
        (b"\x1b[31mred\x07", "[31mred"),
        (b" \n ", None),
    ],
)
def test_caption_files_are_read_whatever_wrote_them(
    tmp_path: Path, data: bytes, wanted: str | None
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert CaptionFiles(Limits()).read(FileContent(path), "a") == wanted


def test_endless_captions_are_cut_behind_a_word_and_huge_files_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("word " * 1000)
    assert CaptionFiles(Limits(caption_letters=12)).read(FileContent(path), "a") == "word word"
    with pytest.raises(Unreadable):
        CaptionFiles(Limits(caption_bytes=4999)).read(FileContent(path), "a")
    path.write_bytes(b"PK\0\0")
    with pytest.raises(Unreadable):
        CaptionFiles(Limits()).read(FileContent(path), "a")
