"""The data set of a training: from what a person hands in to pictures with captions.

`build` writes into the run's folder: `pictures/`, `report.png` and, last of all, `dataset.json`;
a folder without `dataset.json` has no data set, whatever else a try that was stopped left there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from ..core.errors import EngineError, InputError
from ..core.files import replacing, sha256_of, storage_errors
from ..core.request import Frozen, TrainingRequest
from .advice import advice
from .caption_files import CaptionFiles
from .captions import Captioner, CaptionsFrom, caption_all, one_line
from .collect import NEARLY, Collector, Kept
from .intake import Intake
from .limits import DEFAULT, Limits, Progress, never, no_progress, stop_if
from .trigger import trigger_for, trigger_of

PICTURES = "pictures"
FILE = "dataset.json"
REPORT = "report.png"
HINT_LETTERS = 300
_UNFINISHED = ".dataset-"

_HELD_OUT_FROM = 8
_HELD_OUT_SHARE = 8
_HELD_OUT_MOST = 8


class Example(Frozen):
    """One picture to learn from.

    `picture`: file name below `pictures/`: upright, sRGB, 8 bit PNG, RGB, or RGBA where
    `has_alpha`. `caption`: holds the trigger once. `source`: what it came from, as it is shown.
    `sha256`: of the PNG file. `held_out`: not learned from, but kept for the validation loss.
    """

    picture: str
    caption: str
    width: int
    height: int
    source: str
    sha256: str
    has_alpha: bool
    held_out: bool = False


class Dropped(Frozen):
    """Something that is not used. `why`: words that follow its name."""

    source: str
    why: str


class DataSet(Frozen):
    """What is trained on. `bytes`: of all pictures' files."""

    trigger: str
    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()
    captions_from: CaptionsFrom = "description"
    bytes: int = 0


def load(folder: Path) -> DataSet:
    """The data set of a run's folder.

    Raises InputError `dataset_invalid` if there is none, or one of its pictures is gone.
    """
    try:
        data = DataSet.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        message = f"{folder.name} holds no data set that was finished."
        raise InputError("dataset_invalid", message) from None
    except (OSError, ValidationError) as error:
        raise InputError("dataset_invalid", f"{folder.name}/{FILE} is damaged.") from error
    for example in data.examples:
        if not (folder / PICTURES / example.picture).is_file():
            message = f"{folder.name}/{PICTURES}/{example.picture} is gone."
            raise InputError("dataset_invalid", message)
    return data


def build(
    request: TrainingRequest,
    folder: Path,
    *,
    captioner: Captioner | None = None,
    taken: Collection[str] = (),
    limits: Limits = DEFAULT,
    progress: Progress = no_progress,
    cancelled: Callable[[], bool] = never,
) -> DataSet:
    """Make the data set in `folder`, which may hold an older one: it stays until the end.

    `taken`: triggers of other LoRAs. Raises InputError `archive_unusable`, `pictures_too_many` or
    `pictures_none`, UnknownNameError `file_missing`, EngineError `local_missing`, StorageError,
    CancelledError.
    """
    if find_spec("imagehash") is None:
        raise EngineError("local_missing", "imagehash, which finds near duplicates, is missing.")
    with _unfinished(folder) as staging, Intake(limits) as intake:
        pictures = staging / PICTURES
        pictures.mkdir()
        progress(0.0, "looking at the files")
        intake.take(request.files, cancelled)
        files = CaptionFiles(limits, request.captions_encoding)
        told = files.look(item.caption for item in intake.items if item.caption is not None)
        collector = Collector(pictures, limits, cancelled, files)
        _collect(intake, collector, limits, progress)
        if not collector.kept:
            raise _none(request, intake, collector)
        kept = list(collector.kept.values())
        own = [picture.caption for picture in kept if picture.caption]
        trigger = trigger_of(own) or trigger_for(request.name, taken)
        about = one_line(request.about, HINT_LETTERS)
        captions = caption_all(
            [(picture.file, picture.caption) for picture in kept],
            trigger,
            request.about,
            hint=", ".join(x for x in (one_line(request.name, HINT_LETTERS), about) if x),
            captioner=captioner,
            tell=lambda done: progress(0.7 + 0.25 * done / len(kept), "writing captions"),
            cancelled=cancelled,
        )
        progress(0.95, "writing the report")
        warnings = advice(
            kept,
            described=bool(request.about) or captions.come_from != "description",
            resolution=request.resolution if isinstance(request.resolution, int) else None,
            notes=[*intake.notes, *collector.notes, *files.notes],
            mirrored=collector.mirrored,
            duplicates=sum(why.startswith(NEARLY) for _, why in collector.dropped),
            lone_captions=intake.lone_captions,
        )
        if trigger.lower() in {other.lower().strip() for other in taken}:
            warnings.append(f'Another of your LoRAs has the trigger "{trigger}", too.')
        data = DataSet(
            trigger=trigger,
            examples=_examples(kept, captions.texts),
            dropped=tuple(
                Dropped(source=source, why=why)
                for source, why in (*intake.dropped, *collector.dropped, *_left(intake.left))
            ),
            warnings=(*told, *warnings, *([captions.complaint] if captions.complaint else [])),
            captions_from=captions.come_from,
            bytes=sum(picture.file.stat().st_size for picture in kept),
        )
        blurred = {f"{n:04d}.png" for n, picture in enumerate(kept, 1) if picture.blurred}
        with storage_errors(staging / REPORT):
            for example, picture in zip(data.examples, kept, strict=True):
                picture.file.rename(pictures / example.picture)
            from .report import draw_report

            draw_report(
                one_line(request.name, HINT_LETTERS),
                data,
                pictures,
                staging / REPORT,
                blurred=blurred,
                cancelled=cancelled,
            )
        stop_if(cancelled)
        _publish(staging, folder, data)
    progress(1.0, "the data set is ready")
    return data


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder for what is not finished yet, deleted in the end; those of dead tries go, too."""
    with storage_errors(folder / FILE):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=_UNFINISHED))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _collect(intake: Intake, collector: Collector, limits: Limits, progress: Progress) -> None:
    whole = sum(item.size for item in intake.items) or 1
    done = 0
    for number, item in enumerate(intake.items):
        if collector.full:
            left = len(intake.items) - number
            why = f"more than {limits.pictures:,} pictures are not used"
            collector.dropped.append((f"{left:,} further files", why))
            return
        progress(0.02 + 0.68 * done / whole, f"reading {item.source}")
        collector.take(item)
        done += item.size


def _left(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What systems leave in folders, in one line."""
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        which = "1 file or folder" if len(names) == 1 else f"{len(names):,} files or folders"
        yield f"{which} ({shown})", "of the system: no pictures of yours"


def _none(request: TrainingRequest, intake: Intake, collector: Collector) -> InputError:
    dropped = [*intake.dropped, *collector.dropped]
    if not dropped:
        names = ", ".join(Path(name).name or name for name in request.files[:3])
        return InputError("pictures_none", f"There are no pictures in {names}.")
    # One file for each reason says more than many files with the same.
    by_reason = {why: source for source, why in reversed(dropped)}
    reasons = [f"{source} {why}" for why, source in reversed(by_reason.items())][:3]
    more = len(dropped) - len(reasons)
    text = "; ".join(reasons) + (f"; and {more:,} more" if more else "")
    return InputError("pictures_none", f"There is no picture to learn from: {text}.")


def _examples(kept: Sequence[Kept], captions: Sequence[str]) -> tuple[Example, ...]:
    digests = [sha256_of(picture.file) for picture in kept]
    held_out = _held_out(digests)
    return tuple(
        Example(
            picture=f"{number:04d}.png",
            caption=caption,
            width=picture.width,
            height=picture.height,
            source=picture.source,
            sha256=digest,
            has_alpha=picture.has_alpha,
            held_out=digest in held_out,
        )
        for number, (picture, caption, digest) in enumerate(
            zip(kept, captions, digests, strict=True), 1
        )
    )


def _held_out(digests: Sequence[str]) -> frozenset[str]:
    """By content, not by order or chance: the same pictures are held out every time."""
    if len(digests) < _HELD_OUT_FROM:
        return frozenset()
    count = min(_HELD_OUT_MOST, max(1, round(len(digests) / _HELD_OUT_SHARE)))
    return frozenset(sorted(digests)[:count])


def _publish(staging: Path, folder: Path, data: DataSet) -> None:
    """`dataset.json` goes first and comes last: with it the folder is whole at any moment."""
    with storage_errors(folder / FILE):
        (folder / FILE).unlink(missing_ok=True)
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        (staging / PICTURES).rename(folder / PICTURES)
        (staging / REPORT).replace(folder / REPORT)
    with replacing(folder / FILE) as temporary:
        temporary.write_text(data.model_dump_json(indent=1), encoding="utf-8")
