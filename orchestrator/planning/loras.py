"""Which LoRAs a request is drawn with: those that it names, and those that fit its words.

A request comes from `planning.resolve`: in it a LoRA is named by a name of the lists, or, by
whoever may, by an absolute path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...catalog.card import Card
from ...catalog.formats.safetensors_header import is_file
from ...catalog.index.hashes import known_sha256, known_tensors_sha256
from ...catalog.index.loras import read_lora
from ...catalog.index.meanings import why_by_words
from ...catalog.index.models import ModelEntry
from ...catalog.index.records import key_of
from ...catalog.search.search_index import Library
from ...catalog.search.select import Choice, Named, Picked, Refused, missing_triggers
from ...catalog.words.card_words import describe
from ...core.errors import KizyError, ModelFileError, StorageError, UnknownNameError
from ...core.plan import ModelFile
from ...core.request import GenerationRequest, LoraChoice
from ..shelf import Shelf, guest_card
from . import lora_fit
from .lora_fit import LoraFit
from .planner import ChosenLora, LoraChoices
from .resolve import AUTO, path_of
from .server_loras import name_on_server


def named_in(request: GenerationRequest) -> tuple[LoraChoice, ...]:
    """The LoRAs that a request names."""
    if isinstance(request.loras, str):
        return ()
    return tuple(choice for choice in request.loras if choice.name.casefold() != AUTO)


def may_pick(request: GenerationRequest) -> bool:
    """Whether Kizy may pick LoRAs by itself."""
    if isinstance(request.loras, str):
        return request.loras == AUTO
    return len(named_in(request)) < len(request.loras)


@dataclass(frozen=True)
class Reach:
    """The LoRAs that an engine can load.

    `names`: key of a card -> how the engine calls it; None: it loads them by path. `others`: what
    it has and Kizy has not read, by the names that were asked for. `sent`: keys of those that lie
    here and are sent to it first. `receiving`: it takes any file that lies here. `cards`: of LoRAs
    that lie there alone. `meant`: a name that was asked for -> the key of its card. `taken`: file
    names (lower case, without extension) that other files have there.
    """

    names: Mapping[str, str] | None = None
    others: Mapping[str, str] | None = None
    sent: frozenset[str] = frozenset()
    receiving: bool = False
    cards: tuple[Card, ...] = ()
    meant: Mapping[str, str] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()

    def fit(self, card: Card, family: str | None) -> LoraFit:
        """How much of it the engine draws with. Of those on servers alone, their cards tell."""
        if name_on_server(card) is not None:
            return LoraFit()
        if self.names is None:
            return lora_fit.embedded(Path(card.key), family)
        return lora_fit.on_comfyui(Path(card.key), family, receiving=self.receiving)

    def file(self, card: Card, library: Library, fit: LoraFit) -> ModelFile:
        if name_on_server(card) is not None and self.names is not None:
            return ModelFile(name=self.names[card.key])
        path = Path(card.key)
        hashes = {
            "sha256": known_sha256(path),
            "tensors_sha256": known_tensors_sha256(path),
        }
        if self.names is not None and card.key in self.names:
            # What ComfyUI cannot read as it lies there is sent there converted.
            where = str(path) if fit.converts else None
            return ModelFile(name=self.names[card.key], path=where, **hashes)
        if self.names is not None:
            other = path.stem.casefold() in self.taken
            name = f"{path.stem}-{_mark(path)}{path.suffix}" if other else path.name
            return ModelFile(name=name, path=str(path), **hashes)
        return ModelFile(name=library.file_name(card), path=str(path), **hashes)


def choose(
    request: GenerationRequest,
    model: ModelEntry,
    shelf: Shelf,
    reach: Reach,
    *,
    style: str | None = None,
) -> LoraChoices:
    """The LoRAs for a request on a model. `style`: words of the style that it names.

    Raises UnknownNameError `lora_unknown`, InputError `name_ambiguous`; ModelFileError
    `lora_other_family`, `lora_form_unknown`, `model_file_damaged` or `model_file_pickled` for a
    named one that cannot be taken.
    """
    named = named_in(request)
    foreign = {} if reach.others is None else dict(reach.others)
    known = [choice for choice in named if choice.name not in foreign]
    free = may_pick(request)
    unread = tuple(_unread(choice, foreign) for choice in named if choice.name in foreign)
    try:
        if not known and (not free or not shelf.library(also=reach.cards).cards):
            return LoraChoices(unread)
    except StorageError as error:
        # A picture without LoRAs is better than none.
        return LoraChoices(unread, notices=(f"No LoRAs were looked for: {error.message}",))
    guests = guests_of(request)
    found = shelf.select(
        ", ".join(filter(None, (request.prompt, style))),
        model.family or "",
        variant=model.variant,
        named=[_named(choice, reach) for choice in known],
        max_loras=None if free else 0,
        only=None if reach.names is None else _reached(reach, guests),
        also=reach.cards,
        guests=guests,
    )
    for refused in found.refused:
        raise _refusal(refused)
    library = shelf.library(also=reach.cards).with_guests(guests)
    notices = list(found.notices if free else ())
    by_person, by_kizy, taken = [], [], []
    for one in found.picked:
        fit = reach.fit(one.card, model.family)
        if fit.problem is None:
            taken.append(one)
            (by_person if one.named else by_kizy).append(_chosen(one, reach, library, fit))
        elif one.named:
            raise fit.problem
        else:
            notices.append(f"{one.card.name} would fit. {fit.problem.message}")
    lie_here = [Path(one.card.key) for one in taken if name_on_server(one.card) is None]
    return LoraChoices(
        (*by_person, *unread, *by_kizy),
        why_none=_why_none(found, library, model) if free and not named else None,
        notices=tuple(notices),
        by_words_only=found.by_words_only and free,
        why_by_words=why_by_words(known=library.has_meanings),
        unhashed=tuple(
            path
            for path in lie_here
            if known_sha256(path) is None or known_tensors_sha256(path) is None
        ),
    )


def _mark(path: Path) -> str:
    """Tells a file from others of its name, and from itself once it has changed."""
    about = path.stat()
    told = f"{path}\0{about.st_size}\0{about.st_mtime_ns}"
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def guests_of(request: GenerationRequest) -> tuple[Card, ...]:
    """Cards of the files that a request names by their paths: they are this request's alone."""
    paths = (path_of(choice.name) for choice in named_in(request))
    return tuple(guest_card(path) for path in paths if path is not None and is_file(path))


def _reached(reach: Reach, guests: Iterable[Card]) -> set[str]:
    """Keys of what can be picked; a file that was named by its path may be sent."""
    sent = {card.key for card in guests} if reach.receiving else set()
    return {*(reach.names or ()), *reach.sent, *sent}


def families_of(
    request: GenerationRequest, shelf: Shelf, also: Sequence[Card] = ()
) -> frozenset[str]:
    """Families of the LoRAs that a request names, as far as Kizy has read them."""
    if not named_in(request):
        return frozenset()
    library = shelf.library(also=also).with_guests(guests_of(request))
    places = (library.find(choice.name) for choice in named_in(request))
    cards = (library.cards[at] for found in places for at in found)
    return frozenset(card.family for card in cards if card.family is not None)


def _named(choice: LoraChoice, reach: Reach) -> Named:
    model, clip = choice.model_weight, choice.clip_weight
    path = path_of(choice.name)
    name = reach.meant.get(choice.name, choice.name) if path is None else key_of(path)
    return Named(name, None if model == "auto" else model, None if clip == "auto" else clip)


def _chosen(picked: Picked, reach: Reach, library: Library, fit: LoraFit) -> ChosenLora:
    return ChosenLora(
        file=reach.file(picked.card, library, fit),
        triggers=picked.triggers,
        model_weight=picked.model_weight,
        clip_weight=picked.clip_weight,
        why=" ".join(filter(None, (picked.why, fit.note))),
        is_style=describe(picked.card).kind == "style",
        spoken=tuple(
            word for word in missing_triggers("", picked.card) if word not in picked.triggers
        ),
    )


def _unread(choice: LoraChoice, foreign: Mapping[str, str]) -> ChosenLora:
    """A LoRA that lies on a server alone: nothing is known of it but its name."""
    named = _named(choice, Reach())
    weight = 1.0 if named.model_weight is None else named.model_weight
    clip = weight if named.clip_weight is None else named.clip_weight
    why = "You named it. It lies on the server, where Kizy cannot read its trigger words."
    return ChosenLora(ModelFile(name=foreign[choice.name]), (), weight, clip, why)


def _why_none(found: Choice, library: Library, model: ModelEntry) -> str | None:
    """Said only where there are LoRAs that might have been picked."""
    stretch = library.stretch(model.family or "")
    return found.why_none if stretch.stop > stretch.start or found.runners_up else None


def _refusal(refused: Refused) -> KizyError:
    card = refused.card
    if card is None:
        return UnknownNameError("lora_unknown", refused.why)
    message = f'The LoRA "{card.name}": {refused.why}'
    if card.problem is None:
        return ModelFileError("lora_other_family", message)
    if name_on_server(card) is not None:
        fix = "Put it into Kizy's folder for LoRAs here: it is sent in a form that is read."
        return ModelFileError("lora_form_unknown", message, fix=fix)
    try:
        read_lora(Path(card.key))
    except KizyError as error:
        return error
    return ModelFileError("model_file_damaged", message)
