"""What is known of a LoRA or model that decides whether it is picked: plain data, no file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.request import Frozen

Kind = Literal["subject", "style", "technique"]
"""What a LoRA brings: someone or something; a way of drawing; light, detail, pose, speed."""


class Card(Frozen):
    """A LoRA as the choice sees it. All texts are untrusted: data to match and to show.

    `key`: unique in a library (where the file lies, or a server's name for it). `name`: its
    file's name without extension, or the title that its author gave. `aliases`: what else it is
    called, as by the program that trained it. `family`: id in the
    catalog, proven from tensors; None if unknown. `variant`: a fine-tune within the family
    whose LoRAs it was made for ("pony", "illustrious", "noobai"). `kind`: None if nothing
    tells. `triggers`: words that the prompt should hold. `tags`, `examples`: the author's tags
    and example prompts. `weight`: what the author recommends, with its range if there is one.
    `folder`: below the library's root, with slashes. `problem`: why it cannot be used.
    """

    key: str
    name: str
    aliases: tuple[str, ...] = ()
    family: str | None = None
    variant: str | None = None
    kind: Kind | None = None
    about: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    weight: float | None = None
    weight_range: tuple[float, float] | None = None
    folder: str = ""
    source: Literal["kizy", "file", "sidecar", "civitai", "server"] = "file"
    mature: bool = False
    problem: str | None = None
    size: int = Field(default=0, ge=0)
