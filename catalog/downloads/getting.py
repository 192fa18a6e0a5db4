"""From an address to a file in the right folder: look up, offer, download, prove what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.errors import InputError
from ...core.files import sha256_of
from ..families.family import load_families
from ..formats.published_facts import CIVITAI, Facts, RemoteFile
from ..formats.recognize import checkpoint_family, lora_family, lora_modules
from ..formats.safetensors_header import Header, is_file
from .civitai import ADULT_SITE, Civitai, civitai_hub, parse_reference
from .download import Progress, download
from .hub import Caller, Hub, same_place
from .huggingface import HuggingFace, parse_place
from .offer import Folders, Machine, Offer, make_offer


def look_up(
    text: str,
    *,
    adult: bool = False,
    caller: Caller | None = None,
    civitai: Civitai | None = None,
) -> Facts:
    """Facts of what an address, an AIR, a Civitai version id or "owner/repository" names.

    `civitai`: the service, if it is not the public one. Raises InputError `request_invalid` if the
    text names nothing; what `Civitai.resolve` and `HuggingFace.resolve` raise.
    """
    if parse_reference(text) is not None:
        return (civitai or Civitai(adult=adult, caller=caller)).resolve(text)
    if parse_place(text) is not None:
        return HuggingFace(caller=caller).resolve(text)
    message = "That names nothing that Kizy can download."
    fix = (
        "Give the address of a model's page on Civitai or Hugging Face, the id of a version on "
        "Civitai, or owner/repository on Hugging Face."
    )
    raise InputError("request_invalid", message, fix=fix)


def find_offer(
    text: str,
    *,
    adult: bool = False,
    folders: Folders | None = None,
    machine: Machine | None = None,
    caller: Caller | None = None,
    civitai: Civitai | None = None,
) -> Offer:
    """The offer for what a text names. Raises what `look_up` and `make_offer` raise."""
    facts = look_up(text, adult=adult, caller=caller, civitai=civitai)
    return make_offer(facts, adult=adult, folders=folders, machine=machine)


def accept(
    offer: Offer,
    *,
    folders: Folders | None = None,
    progress: Callable[[Progress], None] = lambda _progress: None,
    caller: Caller | None = None,
    hub: Hub | None = None,
) -> tuple[Path, ...]:
    """Download what the person said yes to; where the files lie in the end.

    A single file goes to where its tensors say, not its source: a LoRA to the LoRAs, a model to
    the models. `hub`: the service, unless it is to be told from the addresses. Raises what
    `download` raises.
    """
    folders, caller = folders or Folders(), caller or Caller()
    service = hub or _hub_of(offer)
    single = len(offer.files) == 1
    sizes = [file.size for file in offer.files]
    done: list[Path] = []
    before = 0
    for file, name in zip(offer.files, offer.names, strict=True):
        planned = offer.folder / name

        def tell(now: Progress, before: int = before) -> None:
            total = now.total if single else offer.size
            progress(Progress(before + now.done, total, now.left if single else None))

        path = _present(planned, file, folders) if single else _whole(planned, file)
        if path is None:
            path = download(
                file,
                _unused(planned) if single else planned,
                hub=service,
                progress=tell,
                caller=caller,
                free=folders.free,
                settle=_settle(folders) if single else lambda _header, planned: planned,
            )
        done.append(path)
        before += sizes[len(done) - 1] or path.stat().st_size
    return tuple(done)


def kind_of(header: Header) -> str | None:
    """ "lora" or "checkpoint" by a file's tensors; None if it is neither."""
    families = load_families()
    if lora_modules(header).names or lora_family(header, families) is not None:
        return "lora"
    return "checkpoint" if checkpoint_family(header, families) is not None else None


def _settle(folders: Folders) -> Callable[[Header, Path], Path]:
    def settle(header: Header, planned: Path) -> Path:
        kind = kind_of(header)
        if kind is None:
            # A model of a family that Kizy does not know stays where its source said.
            return planned
        folder = folders.of(kind)
        if planned.parent == folder:
            return planned
        return _unused(folder / planned.name)

    return settle


def _present(planned: Path, file: RemoteFile, folders: Folders) -> Path | None:
    """The same file, if it lies in one of the two folders already."""
    for folder in (planned.parent, folders.of("lora"), folders.of("checkpoint")):
        for path in _numbered(folder / planned.name):
            if not is_file(path):
                break
            if _same(path, file):
                return path
    return None


def _whole(path: Path, file: RemoteFile) -> Path | None:
    """A file of a folder that an earlier, broken download left whole."""
    if not is_file(path):
        return None
    if file.sha256 is not None:
        return path if _same(path, file) else None
    return path if file.size in (None, path.stat().st_size) else None


def _same(path: Path, file: RemoteFile) -> bool:
    """Whether a file has the announced sha256; only read if its size is about right."""
    if file.sha256 is None:
        return False
    size = path.stat().st_size
    if file.size is not None and abs(size - file.size) > 65_536 + 0.01 * size:
        return False
    return sha256_of(path) == file.sha256


def _unused(path: Path) -> Path:
    """The path, or the first "name (2)", "name (3)", ... that no file has."""
    for numbered in _numbered(path):
        if not is_file(numbered):
            return numbered
    message = f"There are too many files called {path.name} in {path.parent}."
    raise InputError("download_refused", message, fix="Remove some of them.")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 1000):
        yield path.with_stem(f"{path.stem} ({number})")


def _hub_of(offer: Offer) -> Hub:
    if offer.source == "huggingface":
        return HuggingFace().hub()
    for site in (CIVITAI, ADULT_SITE, "https://civitai.green"):
        if same_place(offer.files[0].url, site):
            return civitai_hub(site)
    raise InputError("download_refused", f"{offer.title} does not come from Civitai.")
