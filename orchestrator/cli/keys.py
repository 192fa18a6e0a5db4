"""`kizy keys`: who may ask the server of this machine's database."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..jobs.keys import Key, KeyStore, database_of
from ..settings import load_settings
from .console import shown


def add(name: str, *, admin: bool, as_json: bool) -> None:
    """Make a key and print it, once. Raises InputError `request_invalid`, StorageError."""
    with _store() as store:
        key, words = store.add(name, admin=admin)
    if as_json:
        print(json.dumps({"key": words} | _as_dict(key)))
        return
    may = "sees everybody's jobs" if key.admin else "sees the jobs of that name alone"
    say = f"The key of {shown(key.name)}, who {may}. It is not shown again:"
    print(say, file=sys.stderr)
    print(words)


def list_all(*, as_json: bool) -> None:
    """Print all keys, without the keys' words. Raises StorageError."""
    with _store() as store:
        keys = store.list()
    if as_json:
        print(json.dumps({"keys": [_as_dict(key) for key in keys]}))
        return
    console = Console()
    if not keys:
        console.print("There are no keys. Make one: kizy keys add NAME")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Id", "Name", "Administrator", "Made", "Last used"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        used = f"{key.used:%Y-%m-%d %H:%M}" if key.used is not None else "never"
        admin = "yes" if key.admin else ""
        cells = (key.id, shown(key.name), admin, f"{key.created:%Y-%m-%d %H:%M}", used)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def withdraw(name: str, *, as_json: bool) -> None:
    """Make keys wrong from now on. Raises UnknownNameError `key_unknown`, StorageError."""
    with _store() as store:
        gone = store.withdraw(name)
    if as_json:
        print(json.dumps({"withdrawn": [_as_dict(key) for key in gone]}))
        return
    for key in gone:
        print(f"Withdrawn: {key.id} ({shown(key.name)}).")


@contextlib.contextmanager
def _store() -> Iterator[KeyStore]:
    with contextlib.closing(database_of(load_settings())) as database:
        yield KeyStore(database)


def _as_dict(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "admin": key.admin,
        "created": key.created.isoformat(),
        "used": key.used.isoformat() if key.used is not None else None,
    }
