"""`kizy servers`: which ComfyUI servers there are, and what each can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.comfyui_address import Address
from ...core.errors import EngineError
from ..backends.comfyui.launcher.discover import HERE, discover
from ..backends.comfyui.launcher.server_records import running_servers
from ..backends.comfyui.protocol import probe
from ..settings import load_settings
from .console import document

PATIENCE = 5.0
"""Seconds for each answer of a server."""

NODES_PATIENCE = 60.0
"""Seconds for the list of all nodes, which takes long on servers with many packs."""

GIGABYTE = 1e9

FamiliesOf = Callable[[Address], Sequence[str]]
"""Ids of the model families that a server can draw. Raises EngineError."""


@dataclass(frozen=True)
class DeviceRow:
    """Memory in bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True)
class ServerRow:
    """What is shown of a server; what nobody could say is None. `queue`: jobs of everybody."""

    name: str
    url: str
    started_by_kizy: bool
    reachable: bool
    problem: str | None = None
    fix: str | None = None
    version: str | None = None
    devices: tuple[DeviceRow, ...] = ()
    queue: int | None = None
    kizy_pack: bool | None = None
    families: tuple[str, ...] | None = None


def families_of_server(address: Address) -> Sequence[str]:
    """What its models are called tells it. Raises EngineError."""
    from ..backends.comfyui.protocol.client import ComfyClient
    from ..backends.comfyui.protocol.timeouts import Timing
    from ..backends.comfyui.run.backend import drawable_families

    timing = Timing(connect=PATIENCE, read=PATIENCE, object_info=NODES_PATIENCE)
    client = ComfyClient(address, timing=timing)
    try:
        return sorted(drawable_families(client.facts()))
    finally:
        client.close()


def servers(*, as_json: bool, families_of: FamiliesOf = families_of_server) -> None:
    """Print all servers, or those of the Kizy server of the settings.

    Raises InputError `settings_invalid`.
    """
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        listed_there.servers(settings, as_json=as_json)
        return
    addresses = discover(settings)
    own = {server.address.url for server in running_servers()}
    with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as at_once:
        rows = list(at_once.map(lambda x: _row(x, x.url in own, families_of), addresses))
    if as_json:
        document({"servers": [asdict(row) for row in rows]})
    else:
        _print(rows)


def _row(address: Address, started_by_kizy: bool, families_of: FamiliesOf) -> ServerRow:
    try:
        vitals = probe.vitals(address, timeout=PATIENCE)
        queue = probe.queue_length(address, timeout=PATIENCE)
    except EngineError as error:
        return ServerRow(
            address.name, address.url, started_by_kizy, False, error.message, error.fix
        )
    problem = pack = families = None
    try:
        pack = probe.has_pack(address, timeout=PATIENCE)
        families = tuple(families_of(address))
    except EngineError as error:
        problem = error.message
    return ServerRow(
        name=address.name,
        url=address.url,
        started_by_kizy=started_by_kizy,
        reachable=True,
        problem=problem,
        version=vitals.version,
        devices=tuple(DeviceRow(x.name, x.total, x.free) for x in vitals.devices),
        queue=queue,
        kizy_pack=pack,
        families=families,
    )


def _print(rows: list[ServerRow]) -> None:
    console = Console()
    if not rows:
        console.print(Text(f"No ComfyUI server is set, and none answers at {HERE.url}."))
        console.print(Text("Set servers in kizy.toml ([[servers]] with name and url),"))
        console.print(Text("or let Kizy start one: kizy comfy start --folder PATH"))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Address", "ComfyUI", "GPU", "Memory free", "Jobs", "Kizy", "Draws"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("Name", "Address"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.name, row.url, *_cells(row))))
    console.print(table)
    for row in rows:
        if row.problem is not None:
            console.print(Text.assemble((f"{row.name}: ", "bold"), row.problem))
        if row.fix is not None:
            console.print(Text(f"    {row.fix}"))
        if row.kizy_pack is False:
            text = "without the Kizy pack the starter model cannot be drawn there."
            console.print(Text.assemble((f"{row.name}: ", "bold"), text))


def _cells(row: ServerRow) -> list[str]:
    if not row.reachable:
        return ["not reached", *[""] * 5]
    devices = ", ".join(device.name for device in row.devices)
    memory = ", ".join(
        f"{x.free / GIGABYTE:.1f} of {x.memory / GIGABYTE:.1f} GB" for x in row.devices
    )
    pack = {True: "yes", False: "no", None: "unknown"}[row.kizy_pack]
    families = "unknown" if row.families is None else ", ".join(row.families) or "nothing"
    return [row.version or "", devices, memory, str(row.queue), pack, families]
