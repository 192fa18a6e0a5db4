"""Composition root: the only place that names concrete classes. All adapters go through here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from ..catalog.families.family import Family, family
from ..catalog.families.styles import Style, find_style, style_in_prompt
from ..catalog.index.hashes import file_sha256, known_model_sha256, tensors_sha256
from ..catalog.index.models import STARTER, STARTER_FILE, ModelEntry
from ..core import home
from ..core.errors import InputError, KizyError, UnknownNameError
from ..core.job import Event, new_job_id
from ..core.once import once_property
from ..core.picture_files import read_plan
from ..core.plan import ModelFile, Plan
from ..core.request import GenerationRequest
from ..core.version import VERSION
from .backends.base import COMFYUI, EMBEDDED, Engine, Handle, SavedArtifacts
from .backends.embedded import content_of
from .comfy_side import ComfySide
from .planning.embedded_offer import EmbeddedOffer
from .planning.models import Chosen
from .planning.pasted import decided, planned
from .planning.planner import (
    Choices,
    EngineFacts,
    LoraChoices,
    PictureFacts,
    make_plan,
    refuse_unavailable,
)
from .planning.replay import found_again
from .planning.resolve import without_tags
from .planning.starter_limits import Learned, learned_from, said_to_starter, starter_limits
from .planning.told_files import is_same
from .settings import Settings, load_settings
from .shelf import Shelf
from .storage.inputs import InputFolder
from .storage.pictures import PictureFolder, Pictures

DEFAULT_STYLE = "3d"
"""The starter draws in one of its three styles; this one, unless the person names another."""

DEFAULTED = "you named none; flat sticker and cartoon are the others"

HASH_TRIES = 3
"""So often a choice is made again because LoRAs that it took had no hash yet."""

FINGERPRINT_SECONDS = 60.0
"""So long an engine counts as the same."""

MAX_AUTO_SEED = 2**32 - 1
"""Seeds that are rolled fit what other programs take."""

_AnyOffer = TypeVar("_AnyOffer", bound="Offer")


class Offer(Protocol):
    """What an engine has for the planner."""

    kind: ClassVar[str]

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]: ...

    def chosen(self, request: GenerationRequest) -> Chosen: ...

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices: ...

    def engine(self, facts: Family, model: ModelEntry) -> EngineFacts: ...


@dataclass(frozen=True)
class TakenModel:
    """The model that a request is planned with, and why. `chosen`: what the rule says of all.

    `engine`: the kind of engine that draws it, `engine_why`: why that one. `notices`: what of a
    pasted block is not taken.
    """

    entry: ModelEntry
    why: str
    engine: str
    engine_why: str
    chosen: Chosen
    notices: tuple[str, ...] = ()


class App:
    """Plans requests and draws Plans, in this process or on ComfyUI servers.

    `pictures`: a folder, or another place for what is drawn. `inputs`: the folder where pictures
    are kept that drawings begin with. `saved`: what was saved of jobs that are taken up. `say` is
    told what takes long before anything is drawn, such as ComfyUI's start.
    """

    def __init__(
        self,
        *,
        pictures: Path | Pictures | None = None,
        inputs: Path | None = None,
        saved: SavedArtifacts | None = None,
        settings: Settings | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._say = say
        self.settings = settings or load_settings()
        given = pictures or self.settings.pictures or home.pictures_folder()
        self.pictures: Pictures = (
            PictureFolder(given, VERSION) if isinstance(given, Path) else given
        )
        self._saved = saved
        self._inputs = InputFolder(inputs or home.inputs_folder())
        # Held while the embedded engine is made: by threads of jobs and of requests.
        self._making = threading.Lock()
        # Both are read and written by all of these; each change is one assignment.
        self._engines: dict[str, Engine] = {}
        # One request at a time is decided, so that two do not work out the same. Held by whoever
        # plans while a choice is made; nobody is asked and no picture or weight is read with it.
        self._planning = threading.Lock()
        self._fingerprint = (float("-inf"), "")

    @once_property
    def comfy(self) -> ComfySide:
        """The ComfyUI servers: found and asked on first use."""
        return ComfySide(self.settings, self.pictures, self.shelf, saved=self._saved, say=self._say)

    @once_property
    def shelf(self) -> Shelf:
        """This person's LoRAs: looked through on first use."""
        return Shelf(self.settings)

    def engine(self, kind: str | None) -> Engine:
        """The engine of that kind, made on first use; ComfyUI's looks for servers again.

        Raises EngineError `local_missing`, or `server_unreachable` without any server.
        """
        kind = kind or EMBEDDED
        if kind == COMFYUI:
            engine = self._engines[kind] = self.comfy.engine()
            return engine
        with self._making:
            if kind not in self._engines:
                from .backends.embedded import EmbeddedEngine

                self._engines[kind] = EmbeddedEngine(
                    self.pictures.save, previews=self.settings.previews, saved=self._saved
                )
            return self._engines[kind]

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        """Decide about a request that `resolve` gave. Raises InputError and its kinds."""
        return planned(request, lambda one: self._plan(one, raw=raw))

    def _plan(self, request: GenerationRequest, *, raw: bool) -> Plan:
        """`plan` for a request whose prompt is no pasted block any more."""
        resolved = without_tags(request)
        request = resolved.request
        refuse_unavailable(request)
        plan = self.plan_by(self._offer(request), request, raw=raw)
        plan = resolved.told(plan)
        if "shelf" in self.__dict__:
            with self._planning:
                self.shelf.in_background()
        return plan

    def plan_by(self, offer: Offer, request: GenerationRequest, *, raw: bool = False) -> Plan:
        """Decide about a request that this offer serves. Raises InputError and its kinds."""
        looked = {path: self._look(path) for path in _pictures(request)}
        choices = self._choices(request, offer, looked, raw=raw)
        for _ in range(HASH_TRIES):
            if not choices.loras.unhashed:
                break
            for path in choices.loras.unhashed:
                # Whole files are read: others plan meanwhile. Then it is chosen again, with them.
                file_sha256(path)
                tensors_sha256(path)
            choices = self._choices(request, offer, looked, raw=raw)
        plan = make_plan(request, choices)
        # Only now: what is refused leaves no copies behind.
        for path, facts in looked.items():
            self._inputs.keep(Path(path).expanduser(), facts)
        return plan

    def model_for(self, request: GenerationRequest) -> TakenModel:
        """The model that `plan` takes for a request. Raises what `plan` raises for want of one."""
        taken, pasted = decided(request, self._model_for)
        return taken if pasted is None else replace(taken, notices=pasted.notices)

    def _model_for(self, request: GenerationRequest) -> TakenModel:
        """`model_for` for a request whose prompt is no pasted block any more."""
        request = without_tags(request).request
        offer = self._offer(request)
        with self._planning:
            entry, why = offer.model(request)
            facts = family(entry.family or "").as_variant(entry.variant)
            engine_why = offer.engine(facts, entry).why
            return TakenModel(entry, why, offer.kind, engine_why, offer.chosen(request))

    def start(self, plan: Plan, job_id: str | None = None, *, again: bool = False) -> Handle:
        """Begin to draw a Plan. `again`: the job was begun before, and goes on.

        Raises StorageError if the pictures could not be saved.
        """
        self.pictures.check()
        job_id = job_id or new_job_id()
        kind = plan.engine or EMBEDDED
        self.engine(kind).start(plan, job_id, again=again)
        return Handle(job_id, kind)

    def follow(self, handle: Handle) -> Iterator[Event]:
        """The events of a drawing that was started."""
        return self._engine_of(handle).follow(handle)

    def cancel(self, handle: Handle) -> None:
        """Stop a drawing within a step."""
        self._engine_of(handle).cancel(handle)

    def fingerprints(self, plan: Plan, only: str | None = None) -> Mapping[str, str]:
        """What draws a Plan, as exactly as its pixels depend on it: the same gives the same pixels.

        Place -> kind, versions and device of the engine, and the content of every file that it
        draws with; a place is a server's name, "" for this process. One where any of it is not
        known is left out. `only`: this place alone. Raises KizyError as `engine` does.
        """
        if plan.engine == COMFYUI:
            return self.comfy.fingerprints(plan, only)
        content = content_of(plan)
        if content is None:
            return {}
        # Read by the threads of jobs and of requests; each writes the same.
        asked, known = self._fingerprint
        if time.monotonic() - asked > FINGERPRINT_SECONDS:
            known = self.engine(EMBEDDED).capabilities().fingerprint
            self._fingerprint = time.monotonic(), known
        return {"": f"{known} {content}"}

    def close(self) -> None:
        """Let go of the servers; one that Kizy started ends when nobody uses it any more."""
        if "comfy" in self.__dict__:
            self.comfy.close()

    def plan_of(self, path: Path) -> Plan:
        """The Plan inside a picture, with everything it needs found again on this machine.

        Raises PictureError, UnknownNameError, ModelFileError.
        """
        return found_again(read_plan(path), self._inputs, self._lora_named)

    def _lora_named(self, file: ModelFile) -> Path:
        """Of the LoRAs of a Plan's name, the one with its content, else the only one."""
        with self._planning:
            found = self.shelf.find(file.name)
        if not found:
            raise UnknownNameError("lora_unknown", f'No LoRA is called "{file.name}".')
        same = [path for path in found if is_same(path, file.sha256)]
        if same:
            return same[0]
        with self._planning:
            return self.shelf.only(found, file.name)

    def _engine_of(self, handle: Handle) -> Engine:
        kind = handle.engine or EMBEDDED
        return self._engines.get(kind) or self.engine(kind)

    def _offer(self, request: GenerationRequest) -> Offer:
        """The engine to plan for. "auto" takes ComfyUI where it can serve the request."""
        asked = request.engine if request.engine != "auto" else self.settings.engine
        if asked not in ("auto", EMBEDDED, COMFYUI):
            message = f'No engine is called "{asked}". There is: auto, comfyui, embedded.'
            raise InputError("feature_unavailable", message)
        model = self.settings.model
        if asked == EMBEDDED:
            why = "you asked for it" if request.engine == EMBEDDED else "your settings say so"
            return EmbeddedOffer(model, why, self.shelf)
        if asked == COMFYUI:
            return self._on_comfyui(request)
        if not self.comfy.there:
            return EmbeddedOffer(model, "no ComfyUI is set up or runs here", self.shelf)
        try:
            return self._able(self.comfy.offer(), request)
        except KizyError as error:
            refusal = error
        try:
            from .backends.embedded import require_local

            require_local()
            why = f"ComfyUI cannot: {refusal.message}"
            return self._able(EmbeddedOffer(model, why, self.shelf), request)
        except KizyError as error:
            if not isinstance(error, UnknownNameError) and error.code not in (
                "local_missing",
                refusal.code,
            ):
                raise
            # Nor can this machine: what ComfyUI says of it is nearer to what was meant.
            return self._on_comfyui(request)

    def _on_comfyui(self, request: GenerationRequest) -> Offer:
        """The servers, if they can serve the request. Raises KizyError.

        What they have is known from earlier: one that did not answer is waited for within the
        limits, and a file may have come since.
        """
        try:
            return self._able(self.comfy.offer(), request)
        except KizyError as error:
            if not _may_have_come(error):
                raise
        try:
            return self._able(self.comfy.offer(patient=True), request)
        except KizyError as error:
            if error.code == "server_unreachable" or not _may_have_come(error):
                raise
        return self._able(self.comfy.offer(fresh=True), request)

    def _able(self, offer: _AnyOffer, request: GenerationRequest) -> _AnyOffer:
        """The offer, if it has the model and the LoRAs. Raises KizyError."""
        with self._planning:
            model, _ = offer.model(request)
            offer.loras(request, model)
        return offer

    def _choices(
        self,
        request: GenerationRequest,
        offer: Offer,
        looked: Mapping[str, PictureFacts],
        *,
        raw: bool,
    ) -> Choices:
        """Everything that the request names. `looked`: its pictures, by path."""

        def look(path: str | None) -> PictureFacts | None:
            return looked[path] if path is not None else None

        with self._planning:
            model, why = offer.model(request)
            facts = family(model.family or "").as_variant(model.variant)
            starter = facts.id == STARTER
            prompt = starter_limits(request.prompt).drawn_from if starter else request.prompt
            style, style_reason, named = _style(request, prompt, facts)
            asked = style.words if style is not None and style_reason != DEFAULTED else None
            loras = offer.loras(request, model, asked)
        if style_reason == DEFAULTED and any(lora.is_style for lora in loras.loras):
            style = style_reason = None
        wording, notices = said_to_starter(request, _learned(loras)) if starter else ({}, ())
        model_hash = None
        if offer.kind == EMBEDDED:
            # What is large is read in the background: the next Plan knows it, and so does the
            # picture, if it is read by then.
            known = known_model_sha256
            model_hash = known(model.path) if model.path is not None else file_sha256(STARTER_FILE)
        return Choices(
            model=model,
            model_sha256=model_hash,
            model_reason=why,
            family=facts,
            style=style,
            style_reason=style_reason,
            style_in_prompt=named,
            loras=loras,
            start=look(request.start.picture if request.start else None),
            mask=look(request.mask.picture if request.mask else None),
            seed=random.SystemRandom().randint(0, MAX_AUTO_SEED),
            engine=offer.engine(facts, model),
            controls=tuple(
                facts
                for facts in (look(control.picture) for control in request.controls)
                if facts is not None
            ),
            improve_masks=tuple(look(asked.mask) for asked in request.improve),
            raw=raw,
            wording=wording,
            notices=notices,
        )

    def _look(self, path: str) -> PictureFacts:
        try:
            return self._inputs.look(Path(path).expanduser())
        except RuntimeError as error:
            raise UnknownNameError("file_missing", f"There is no file {path}.") from error


def _pictures(request: GenerationRequest) -> Iterator[str]:
    """The paths of all pictures that a request names."""
    given = [request.start.picture if request.start else None]
    given += [request.mask.picture if request.mask else None]
    given += [control.picture for control in request.controls]
    given += [asked.mask for asked in request.improve]
    yield from dict.fromkeys(path for path in given if path is not None)


def _may_have_come(error: KizyError) -> bool:
    """Whether what was missing may be there now."""
    return isinstance(error, UnknownNameError) or error.code in (
        "server_model_missing",
        "server_unreachable",
    )


def _learned(loras: LoraChoices) -> Learned:
    """What these LoRAs bring, by their names and triggers."""
    texts = [
        word for lora in loras.loras for word in (lora.file.name, *lora.triggers, *lora.spoken)
    ]
    return learned_from(texts, style=any(lora.is_style for lora in loras.loras))


def _style(
    request: GenerationRequest, prompt: str, facts: Family
) -> tuple[Style | None, str | None, bool]:
    """(style, why, whether the prompt's own words for it suffice).

    A model that learned captions wants their very words, not others for the same.
    """
    found = style_in_prompt(prompt, facts.id)
    literal = facts.prompt_style == "caption"
    if request.style != "auto":
        style = find_style(request.style, facts.id)
        named = found is not None and found.id == style.id
        return style, "you asked for it", named and not literal
    if found is not None:
        return found, "your prompt says so", not literal
    if not literal:
        return None, None, False
    return find_style(DEFAULT_STYLE, facts.id), DEFAULTED, False
