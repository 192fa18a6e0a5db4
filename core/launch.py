"""Start a room of Kizy in another Python environment, from this very folder.

The other interpreter needs what the room imports, but not Kizy itself: the package is put
together from this folder under the name `kizy`, whatever the folder is called.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .cores import all_cores
from .errors import EngineError

ROOT = Path(__file__).resolve().parent.parent

_BOOTSTRAP = """
import importlib.util, runpy, sys
root, module = sys.argv[1:3]
spec = importlib.util.spec_from_file_location(
    "kizy", root + "/__init__.py", submodule_search_locations=[root])
package = importlib.util.module_from_spec(spec)
sys.modules["kizy"] = package
spec.loader.exec_module(package)
sys.argv = [module, *sys.argv[3:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def command(
    room: str, arguments: Sequence[str] = (), *, interpreter: str = sys.executable
) -> list[str]:
    """The command line that runs `kizy.<room>` with `interpreter`."""
    return [interpreter, "-c", _BOOTSTRAP, str(ROOT), f"kizy.{room}", *arguments]


def open_process(words: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen`, on all cores: a process begins with those of the thread that starts it.

    Raises OSError.
    """
    with all_cores():
        return subprocess.Popen[bytes](words, **options)


def start(
    room: str,
    arguments: Sequence[str] = (),
    *,
    interpreter: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `kizy.<room>`; the caller waits for it and owns its end.

    `environment` is added to this process's own. Raises EngineError `launch_failed`.
    """
    try:
        return open_process(
            command(room, arguments, interpreter=interpreter),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    except OSError as error:
        message = f"The interpreter {interpreter} could not be started: {error.strerror}."
        raise EngineError("launch_failed", message) from error
