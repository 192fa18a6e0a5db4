"""LoRAs that lie on a ComfyUI server, as its own Kizy reads them: cards for the choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ..catalog.card import Card
from ..catalog.family import load_families

BEGIN = "server:"
"""Of the keys of cards that lie on servers alone."""
MOST_TEXT = 10_000
"""Letters of a text that a server tells of a LoRA."""


def server_cards(told: Iterable[Mapping[str, Any]]) -> tuple[Card, ...]:
    """The cards of a server's answer; untrusted, so what is none is passed over.

    `key`: "server:" and the file as the server lists it.
    """
    found: list[Card] = []
    families = load_families()
    for one in told:
        file = one.get("file")
        if not isinstance(file, str) or not file or len(file) > MOST_TEXT:
            continue
        known = {name: one[name] for name in Card.model_fields if name in one}
        try:
            card = Card.model_validate({**known, "key": BEGIN + file, "source": "server"})
        except ValidationError:
            continue
        if card.family is not None and card.family not in families:
            card = card.model_copy(update={"family": None, "variant": None})
        found.append(card.model_copy(update={"about": card.about[:MOST_TEXT]}))
    return tuple(found)


def name_on_server(card: Card) -> str | None:
    """The file as the server lists it; None for a LoRA that lies here."""
    return card.key.removeprefix(BEGIN) if card.key.startswith(BEGIN) else None
