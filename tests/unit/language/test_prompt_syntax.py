"""Weights, escapes and BREAK: what ComfyUI reads, and back into words."""

from __future__ import annotations

import pytest
from kizy.core.errors import InputError
from kizy.language.prompt_syntax import MAX_DEPTH, has_weights, parts, segments, written

PROMPTS = [
    # prompt, what ComfyUI's token_weights and unescape_important make of it
    ("a red fox", [("a red fox", 1.0)]),
    ("", []),
    ("()", []),
    ("(fox)", [("fox", 1.1)]),
    ("((fox))", [("fox", 1.1 * 1.1)]),
    ("a (red:1.3) fox", [("a ", 1.0), ("red", 1.3), (" fox", 1.0)]),
    ("(a (red:0.5) fox)", [("a ", 1.1), ("red", 0.5), (" fox", 1.1)]),
    ("(a (red) fox:2)", [("a ", 2.0), ("red", 2.0 * 1.1), (" fox", 2.0)]),
    ("(a:b:1.2)", [("a:b", 1.2)]),
    ("(:1.2)", [(":1.2", 1.1)]),
    ("(fox:)", [("fox:", 1.1)]),
    ("(fox: 1.2 )", [("fox", 1.2)]),
    ("(fox:-1)", [("fox", -1.0)]),
    ("(fox:one)", [("fox:one", 1.1)]),
    ("(love: infinity)", [("love: infinity", 1.1)]),
    ("[fox]", [("[fox]", 1.0)]),
    (r"a fox \(animal\)", [("a fox (animal)", 1.0)]),
    (r"(fate \(series\):1.2)", [("fate (series)", 1.2)]),
    (r"back\slash", [("back\\slash", 1.0)]),
    ("(open", [("(open", 1.0)]),
    ("closed) (fox:2)", [("closed) (fox:2)", 1.0)]),
    ("(a (b)", [("a ", 1.1), ("(b", 1.1)]),
]


@pytest.mark.parametrize(("prompt", "expected"), PROMPTS)
def test_a_prompt_is_read_as_comfyui_reads_it(
    prompt: str, expected: list[tuple[str, float]]
) -> None:
    assert [tuple(one) for one in segments(prompt)] == expected


@pytest.mark.parametrize("prompt", [prompt for prompt, _ in PROMPTS])
def test_what_was_read_can_be_written_again(prompt: str) -> None:
    assert segments(written(segments(prompt))) == segments(prompt)


def test_parentheses_without_end_are_refused_in_plain_words() -> None:
    deep = MAX_DEPTH + 1
    with pytest.raises(InputError, match="deep") as caught:
        segments("(" * deep + "fox" + ")" * deep)
    assert caught.value.code == "request_invalid"


def test_as_many_parentheses_as_are_read_are_read() -> None:
    ((text, weight),) = segments("(" * MAX_DEPTH + "fox" + ")" * MAX_DEPTH)
    assert text == "fox" and weight == pytest.approx(1.1**MAX_DEPTH)


@pytest.mark.parametrize(
    ("prompt", "weighed"),
    [("a fox", False), (r"a \(fox\)", False), ("(fox:1.0)", False), ("(fox)", True)],
)
def test_whether_words_are_weighed(prompt: str, weighed: bool) -> None:
    assert has_weights(prompt) is weighed


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a fox", ("a fox",)),
        (r"a \(fox", (r"a \(fox",)),
        ("a fox BREAK a tree", ("a fox", "a tree")),
        ("a fox,BREAK\na tree", ("a fox,", "a tree")),
        ("a fox BREAK BREAK", ("a fox",)),
        ("BREAK", ("BREAK",)),
        ("a break BREAKFAST", ("a break BREAKFAST",)),
        ("a (red fox BREAK tree:1.2) b", ("a (red fox:1.2)", "(tree:1.2) b")),
        (r"a \(fox\) BREAK b", (r"a \(fox\)", "b")),
    ],
)
def test_break_parts_a_prompt(prompt: str, expected: tuple[str, ...]) -> None:
    assert parts(prompt) == expected
