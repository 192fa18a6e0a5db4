"""Pictures that Plans begin with, kept by content: a replay finds them when the original moved."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from ...catalog.formats.safetensors_header import is_file
from ...core.errors import PictureError
from ...core.files import replacing, sha256_of
from ...core.picture_files import as_mask, read_picture
from ...core.plan import InputPicture, PictureFacts

_HASH = re.compile("[0-9a-f]{64}")


class InputFolder:
    """`<folder>/<sha256>.<extension>`; written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self, path: Path) -> PictureFacts:
        """Check a picture; its facts name the copy that `keep` makes.

        Raises PictureError, UnknownNameError.
        """
        found = read_picture(path)
        picture = found.picture
        digest = sha256_of(path)
        kept = self.folder / f"{digest}{path.suffix.lower()}"
        given = InputPicture(path=str(kept), sha256=digest)
        brightest = int(np.asarray(as_mask(picture)).max())
        return PictureFacts(given, picture.width, picture.height, brightest, found.note)

    def keep(self, path: Path, facts: PictureFacts) -> None:
        """Keep a copy of a picture that `look` has checked.

        Raises StorageError, and PictureError `picture_unreadable` if it has changed since.
        """
        kept = Path(facts.picture.path)
        if kept.exists():
            return
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts.picture.sha256:
            message = f"The picture {path.name} changed while it was looked at."
            raise PictureError("picture_unreadable", message)
        with replacing(kept) as temporary:
            temporary.write_bytes(data)

    def find(self, picture: InputPicture) -> InputPicture:
        """Where the picture of that content lies now. Raises PictureError `picture_unreadable`."""
        # What a Plan from a stranger tells must make no other machine be asked.
        told = () if picture.path.startswith(("\\\\", "//")) else (Path(picture.path),)
        kept = self.folder.glob(f"{picture.sha256}.*") if _HASH.fullmatch(picture.sha256) else ()
        for path in (*told, *kept):
            if is_file(path) and sha256_of(path) == picture.sha256:
                return picture.model_copy(update={"path": str(path)})
        name = Path(picture.path).name
        raise PictureError(
            "picture_unreadable",
            f"The picture {name} that this drawing began with is not here any more.",
            fix="Put the same file back, or draw anew with --start.",
        )
