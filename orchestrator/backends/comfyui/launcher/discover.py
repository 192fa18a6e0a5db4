"""Which ComfyUI servers there are: set, started by Kizy, or found on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .....core.comfyui_address import DEFAULT_PORT, Address
from .....core.errors import EngineError, InputError, UnknownNameError, nearest
from ..protocol.probe import vitals
from . import server_records as records
from .managed_servers import Options

if TYPE_CHECKING:
    from ....settings import Settings

QUICK = 0.3
"""Seconds for a server on this machine to show that it is there."""

HERE = Address("local ComfyUI", f"http://localhost:{DEFAULT_PORT}")
"""Where ComfyUI is when somebody just started it."""


def discover(
    settings: Settings, *, is_comfyui: Callable[[Address], bool] | None = None
) -> list[Address]:
    """The servers that are set and those that Kizy started; without any, one found on port 8188.

    Those that are set are listed whether they answer or not.
    """
    addresses = [server.address() for server in settings.servers]
    known = {address.url for address in addresses}
    started = [server.address for server in records.running_servers()]
    addresses += [address for address in started if address.url not in known]
    if not addresses and (is_comfyui or answers_as_comfyui)(HERE):
        return [HERE]
    return addresses


def answers_as_comfyui(address: Address) -> bool:
    """Whether a ComfyUI answers there at once."""
    try:
        vitals(address, timeout=QUICK)
    except EngineError:
        return False
    return True


def find_server(name: str, settings: Settings) -> Address:
    """A server by its name in the settings, or any by its address.

    Raises UnknownNameError `server_unknown`.
    """
    addresses = [server.address() for server in settings.servers]
    addresses += [server.address for server in records.running_servers()]
    for address in addresses:
        if name.casefold() == address.name.casefold():
            return address
    if "://" in name or ":" in name or "." in name or name == "localhost":
        try:
            found = Address(name, name)
        except InputError as error:
            raise UnknownNameError("server_unknown", error.message, fix=error.fix) from error
        named = replace(found, name=found.url.partition("//")[2])
        return next((x for x in addresses if x.url == found.url), named)
    message = f'No server is called "{name}". {nearest(name, [x.name for x in addresses])}'
    raise UnknownNameError("server_unknown", message.strip())


def start_options(settings: Settings) -> Options | None:
    """How Kizy starts a ComfyUI of its own; None if the settings name no folder."""
    comfyui = settings.comfyui
    if comfyui.folder is None:
        return None
    return Options(
        folder=comfyui.folder,
        interpreter=comfyui.interpreter,
        arguments=comfyui.arguments,
        gpus=comfyui.gpus,
        port=comfyui.port,
    )
