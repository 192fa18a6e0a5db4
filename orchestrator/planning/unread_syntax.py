"""What people write into prompts for other programs and no engine of Kizy reads: told, and drawn as
the letters that it is. Pure.
"""

from __future__ import annotations

import re

_CHOICES = re.compile(r"\{[^{}]*\|[^{}]*\}")
_WILDCARD = re.compile(r"(?<!\w)__[\w/*.-]+?__(?!\w)")
_BRACKETS = re.compile(r"(?<!\\)\[([^\[\]]+?)(?<!\\)\]")
_SCHEDULE = re.compile(r".*:.*[\d.]\s*", re.DOTALL)
_AND = re.compile(r"(?<=\S)\s+AND\s+(?=\S)")

MAX_SHOWN = 40
"""Letters of a piece of a prompt."""


def unread(prompt: str) -> list[str]:
    """A sentence for each kind of syntax that is drawn as letters."""
    found: list[str] = []
    choices = _CHOICES.search(prompt)
    if choices is not None:
        found.append(
            f"{_shown(choices[0])} is drawn as it stands: only ComfyUI's own page picks one of them"
        )
    wildcard = _WILDCARD.search(prompt)
    if wildcard is not None:
        found.append(f"{_shown(wildcard[0])} is drawn as it stands: Kizy reads no wildcard files")
    schedules, weaker = _bracketed(prompt)
    if schedules:
        found.append(
            f"{_shown(schedules)} is drawn as it stands: prompts do not change between steps"
        )
    if weaker:
        inside = _shown(weaker[1:-1])
        found.append(
            f"{_shown(weaker)}: square brackets are letters, as in ComfyUI; "
            f"({inside}:0.9) is drawn weaker"
        )
    # In a sentence of capitals it is a word like any other.
    if _AND.search(prompt) and prompt != prompt.upper():
        found.append("AND is drawn as a word: prompts are not drawn apart and added up")
    return found


def _bracketed(prompt: str) -> tuple[str, str]:
    """The first of each: what changes between steps ([a:b:0.5], [a|b]), and what is weaker."""
    schedules = weaker = ""
    for match in _BRACKETS.finditer(prompt):
        if "|" in match[1] or _SCHEDULE.fullmatch(match[1]):
            schedules = schedules or match[0]
        else:
            weaker = weaker or match[0]
    return schedules, weaker


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
