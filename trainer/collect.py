"""From what came in to pictures that stay: decoded one at a time, compared, saved as PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..core.files import sha256_of, storage_errors
from . import videos
from .archives import Unreadable
from .caption_files import CaptionFiles
from .duplicates import BITS, Fingerprint, Seen, fingerprint
from .intake import Item
from .limits import Limits, stop_if
from .pictures import on_grey, prepare, too_small
from .sharpness import measure

NEARLY = "is nearly the same as another"
_BLURRED = "is blurred"
_PLURAL = {NEARLY: "are nearly the same as others", _BLURRED: "are blurred"}


@dataclass(frozen=True)
class Kept:
    """A picture that stays. `file`: its PNG; `caption`: what came with it; `frame`: of a video."""

    file: Path
    source: str
    width: int
    height: int
    has_alpha: bool
    blurred: bool
    caption: str | None = None
    frame: bool = False


class Collector:
    """Takes one item after another; only one picture is in memory at a time.

    `kept`: by a number that grows. `dropped`: (name, why). `notes`: (name, what was done to it).
    `mirrored`: names of pictures that are mirrored copies of others, which stay.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        cancelled: Callable[[], bool],
        captions: CaptionFiles | None = None,
    ) -> None:
        self.kept: dict[int, Kept] = {}
        self.dropped: list[tuple[str, str]] = []
        self.notes: list[tuple[str, str]] = []
        self.mirrored: list[str] = []
        self._folder = folder
        self._limits = limits
        self._captions = captions or CaptionFiles(limits)
        self._cancelled = cancelled
        self._seen = Seen()
        self._contents: dict[str, str] = {}
        self._next = 0

    @property
    def full(self) -> bool:
        """Whether there are as many pictures as a data set may hold."""
        return len(self.kept) >= self._limits.pictures

    def take(self, item: Item) -> None:
        """Decode, check, compare and save. Raises StorageError, CancelledError."""
        stop_if(self._cancelled)
        video = item.kind == "video"
        most = self._limits.video_bytes if video else self._limits.picture_bytes
        temporary = self._folder / ".incoming"
        try:
            with (
                storage_errors(temporary),
                item.content.as_file(temporary, most, self._cancelled) as path,
            ):
                caption = self._caption(item)
                if video:
                    self._video(path, item.source, caption)
                else:
                    self._picture(path, item.source, caption)
        except Unreadable as error:
            self.dropped.append((item.source, str(error)))

    def _caption(self, item: Item) -> str | None:
        if item.caption is None:
            return None
        try:
            return self._captions.read(item.caption, item.source)
        except Unreadable as error:
            self.notes.append((f"The caption file of {item.source}", str(error)))
            return None

    def _picture(self, path: Path, source: str, caption: str | None) -> None:
        content = sha256_of(path)
        if content in self._contents:
            raise Unreadable(f"is the same file as {self._contents[content]}")
        self._contents[content] = source
        found = prepare(path, self._limits)
        if found.note:
            self.notes.append((source, found.note))
        why_not = self._consider(found.picture, source, caption)
        if why_not is not None:
            self.dropped.append((source, why_not))

    def _video(self, path: Path, source: str, caption: str | None) -> None:
        def tell(note: str) -> None:
            self.notes.append((source, note))

        reasons: Counter[str] = Counter()
        for frame in videos.frames(path, self._limits, self._cancelled, tell):
            if self.full:
                break
            name = f"{source} at {videos.clock(frame.seconds)}"
            why_not = self._consider(frame.picture, name, caption, frame=True)
            if why_not is not None:
                # Which of the others it is like tells nobody anything.
                reasons[_PLURAL.get(why_not.split(":")[0], why_not)] += 1
        for why, count in reasons.items():
            self.dropped.append((f"{count} frames of {source}", why))

    def _consider(
        self, picture: Image.Image, source: str, caption: str | None, *, frame: bool = False
    ) -> str | None:
        """Save it if it stays; else why not."""
        if min(picture.size) < self._limits.smallest_side:
            return str(too_small(*picture.size, self._limits))
        seen_so = on_grey(picture)
        sharpness = measure(seen_so)
        if frame and sharpness.blurred:
            return _BLURRED
        found = fingerprint(seen_so, sharpness.variance)
        while (number := self._seen.same_as(found)) is not None:
            other = self.kept[number]
            if not found.better_than(self._seen[number]):
                if other.caption is None and caption is not None:
                    self.kept[number] = replace(other, caption=caption)
                return f"{NEARLY}: {other.source}"
            self._remove(number, source)
            caption = caption or other.caption
        self._note_mirrored(found, source)
        kept = Kept(
            file=self._folder / f"{self._next:05d}.png",
            source=source,
            width=picture.width,
            height=picture.height,
            has_alpha=picture.mode == "RGBA",
            blurred=sharpness.blurred,
            caption=caption,
            frame=frame,
        )
        # Compressing more would take longer than all the rest.
        picture.save(kept.file, "PNG", compress_level=1)
        self.kept[self._next] = kept
        self._seen.add(self._next, found)
        self._next += 1
        return None

    def _remove(self, number: int, better: str) -> None:
        other = self.kept.pop(number)
        self._seen.remove(number)
        other.file.unlink()
        self.dropped.append((other.source, f"{NEARLY}: {better}"))

    def _note_mirrored(self, found: Fingerprint, source: str) -> None:
        symmetric = (found.hash ^ found.mirrored).bit_count() <= BITS
        if not symmetric and self._seen.mirror_of(found) is not None:
            self.mirrored.append(source)
