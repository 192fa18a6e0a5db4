"""The models of this person: the built-in starter, diffusers folders, checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...core.errors import KizyError, UnknownNameError, nearest
from ...core.home import models_folder
from ...core.request import Frozen
from ..families.family import Variant, load_families
from ..formats.diffusers_folder import INDEX_FILE, begins_with_noise_alone, check_model_folder
from ..formats.recognize import checkpoint_family, is_nunchaku, variant_named, variant_of
from ..formats.safetensors_header import PICKLE_SUFFIXES, is_file, read_header, readable
from .name_lookup import Listed, Names, without_extension
from .passed_over import MAX_DEPTH, PassedOver, identity

STARTER = "starter"
STARTER_WEIGHTS = Path(__file__).parents[2] / "starter" / "weights"
STARTER_FILE = STARTER_WEIGHTS / "checkpoints" / "kizy-starter.safetensors"
_MODEL_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)


class ModelEntry(Frozen):
    """A model that can be named. `family`: its id, None if it is none that Kizy knows.
    `variant`: of a well-known fine-tune within the family ("pony").

    `path` None: the built-in one, or one that lies on a server. `size` in bytes.
    `drawable_here`: Kizy can draw it in its own process; `problem` says why not. `zero_snr`: it
    begins with noise alone, which few samplers can.
    """

    name: str
    family: str | None
    variant: str | None = None
    path: Path | None
    kind: Literal["builtin", "diffusers", "checkpoint", "server"]
    size: int
    drawable_here: bool
    problem: str | None = None
    zero_snr: bool = False


def list_models(folders: Iterable[Path] | None = None) -> list[ModelEntry]:
    """The starter, then the models below the folders (default: Kizy's) by name; broken ones too.

    A name is the path below its folder, without a file's extension unless that is needed.
    """
    return list(look_through(folders).entries)


@dataclass(frozen=True)
class ModelsFound:
    """`entries`: as `list_models` gives them. `notes`: what was passed over, in plain words."""

    entries: tuple[ModelEntry, ...]
    notes: tuple[str, ...] = ()


def look_through(folders: Iterable[Path] | None = None) -> ModelsFound:
    """As `list_models`, and what the folders hold that is not looked at."""
    walk = _Walk()
    found = [_listed(path, name) for path, name in _named(folders, walk)]
    return ModelsFound((_starter(), *found), walk.passed.notes)


def find_model(name: str, folders: Iterable[Path] | None = None) -> ModelEntry:
    """A model by its name (see `named_model`), or by a path. For whoever may read this disk.

    Raises what `named_model` and `model_at` raise.
    """
    if name.strip().casefold() == STARTER or model_names(folders).find(name):
        return named_model(name, folders)
    path = Path(name)
    if path.is_absolute() or name.startswith(".") or is_model(path) or _is_folder(path):
        return model_at(path)
    return named_model(name, folders)


def named_model(name: str, folders: Iterable[Path] | None = None) -> ModelEntry:
    """ "starter", or a name of a model below the folders, by the rule of `lookup`; never a path.

    A checkpoint comes back with `drawable_here` False: ComfyUI draws it. Raises UnknownNameError
    `model_unknown`; InputError `name_ambiguous`; ModelFileError `model_folder_invalid`,
    `model_file_damaged` or `model_file_pickled`.
    """
    if name.strip().casefold() == STARTER:
        return _starter()
    names = model_names(folders)
    found = names.the(name, "model")
    if found is None:
        hint = nearest(name, [STARTER, *(_name(one, names) for one in names.listed)])
        raise UnknownNameError("model_unknown", f'No model is called "{name}". {hint}'.strip())
    return _entry(Path(found.key), _name(found, names))


def model_at(path: Path) -> ModelEntry:
    """A diffusers folder or a checkpoint, wherever it lies.

    Raises UnknownNameError `file_missing`; ModelFileError as `named_model`.
    """
    if not is_model(path) and not _is_folder(path):
        raise UnknownNameError("file_missing", f"There is no model at {path}.")
    return _entry(path, readable(path.stem if is_file(path) else path.resolve().name))


def is_model(path: Path) -> bool:
    """Whether a diffusers folder, or a file of a model's extension, lies there."""
    return is_file(path / INDEX_FILE) or (path.suffix.lower() in _MODEL_SUFFIXES and is_file(path))


def model_names(folders: Iterable[Path] | None = None) -> Names:
    """The models below the folders (default: Kizy's) by name; keys are their paths."""
    return _names(folders, _Walk())


def _names(folders: Iterable[Path] | None, walk: _Walk) -> Names:
    return Names(
        Listed(key=str(path), file=readable(path.relative_to(folder).as_posix()))
        for folder in ([models_folder()] if folders is None else folders)
        for path in walk.below(folder)
    )


def _starter() -> ModelEntry:
    return ModelEntry(
        name=STARTER,
        family=STARTER,
        path=None,
        kind="builtin",
        size=_size(STARTER_WEIGHTS),
        drawable_here=True,
        zero_snr=True,
    )


def _entry(path: Path, name: str) -> ModelEntry:
    if is_file(path):
        return _checkpoint(path, name)
    family = check_model_folder(path)
    return ModelEntry(
        name=name,
        family=family.id,
        variant=_variant(variant_named(name, family.variants)),
        path=path,
        kind="diffusers",
        size=_size(path),
        drawable_here=True,
        zero_snr=begins_with_noise_alone(path),
    )


def _checkpoint(path: Path, name: str) -> ModelEntry:
    header = read_header(path)
    quantised = is_nunchaku(header.tensors)
    family = None if quantised else checkpoint_family(header, load_families())
    if quantised:
        problem = (
            "It was quantised to 4 bits for Nunchaku (SVDQuant): only Nunchaku's nodes load it."
        )
    elif family is None:
        problem = "It is no model of a family that Kizy knows."
    else:
        problem = "Single-file checkpoints are drawn by ComfyUI; give a diffusers folder."
    return ModelEntry(
        name=name,
        family=family.id if family else None,
        variant=_variant(variant_of(header, family)) if family else None,
        path=path,
        kind="checkpoint",
        size=header.size,
        drawable_here=False,
        problem=problem,
    )


def _variant(known: Variant | None) -> str | None:
    return known.id if known is not None else None


def _listed(path: Path, name: str) -> ModelEntry:
    try:
        return _entry(path, name)
    except KizyError as error:
        return ModelEntry(
            name=name,
            family=None,
            path=path,
            kind="checkpoint" if is_file(path) else "diffusers",
            size=_size(path),
            drawable_here=False,
            problem=readable(error.message),
        )


def _named(folders: Iterable[Path] | None, walk: _Walk | None = None) -> list[tuple[Path, str]]:
    """(path, name) of each model below the folders, by name."""
    names = _names(folders, walk or _Walk())
    found = [(Path(one.key), _name(one, names)) for one in names.listed]
    return sorted(found, key=lambda pair: (pair[1].casefold(), str(pair[0])))


def _name(one: Listed, names: Names) -> str:
    return names.name_of(one, without_extension(one.file))


@dataclass
class _Walk:
    """Finds the models below folders; each folder once, whatever links lead there."""

    passed: PassedOver = field(default_factory=PassedOver)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def below(self, folder: Path, depth: int = 0) -> Iterator[Path]:
        try:
            known = identity(folder.stat())
            children = sorted(folder.iterdir())
        except OSError:
            return
        if known is not None and known in self._seen:
            return
        if depth >= MAX_DEPTH:
            self.passed.deep.append(folder)
            return
        if known is not None:
            self._seen.add(known)
        inner = []
        for child in children:
            if child.name.startswith("."):
                continue
            is_checkpoint = child.suffix.lower() in _MODEL_SUFFIXES and is_file(child)
            if is_checkpoint or is_file(child / INDEX_FILE):
                yield child
            elif _is_folder(child):
                inner.append(child)
            else:
                self.passed.see_link(child)
        # Real folders before links to them.
        for child in sorted(inner, key=lambda path: path.is_symlink()):
            yield from self.below(child, depth + 1)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _size(path: Path) -> int:
    """Bytes of the file, or of all safetensors files below the folder."""
    files = [path] if is_file(path) else path.rglob("*.safetensors")
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total
