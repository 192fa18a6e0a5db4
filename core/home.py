"""Kizy's own folders: below KIZY_HOME, else where the system keeps a program's data."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """KIZY_HOME if it is set, else the user's data folder for Kizy. It need not exist yet."""
    given = os.environ.get("KIZY_HOME")
    if given:
        return Path(given).expanduser()
    # Only now: as a node pack Kizy loads also where its requirements are not installed yet.
    import platformdirs

    return platformdirs.user_data_path("kizy", False)


def models_folder() -> Path:
    """Diffusers folders and checkpoints of this person."""
    return home() / "models"


def loras_folder() -> Path:
    """LoRA files, trained or downloaded."""
    return home() / "loras"


def inputs_folder() -> Path:
    """Pictures that a Plan refers to, by content."""
    return home() / "inputs"


def cache_folder() -> Path:
    """What can be deleted at any time."""
    return home() / "cache"


def pictures_folder() -> Path:
    """Where pictures go when no folder is named: KIZY_HOME/pictures, else Pictures/Kizy."""
    if os.environ.get("KIZY_HOME"):
        return home() / "pictures"
    import platformdirs

    return platformdirs.user_pictures_path() / "Kizy"
