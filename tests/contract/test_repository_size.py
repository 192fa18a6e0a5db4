"""People install this by git: what they fetch stays small."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAX_BYTES = 64 * 1024 * 1024


def test_tracked_files_stay_below_64_mib_in_all(root: Path) -> None:
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True
    ).stdout
    files = [root / name.decode() for name in listed.split(b"\0") if name]
    assert sum(file.lstat().st_size for file in files if file.exists()) < MAX_BYTES
