"""Which Kizy server is spoken to: that of the settings, or the one of this machine."""

from __future__ import annotations

from dataclasses import replace

from ....core.errors import EngineError
from ...settings import Settings, load_settings
from .problems import AwayError
from .server_address import own_place
from .service import RemoteService
from .timeouts import Timing


def configured_server(settings: Settings | None = None) -> tuple[str, str | None]:
    """(address, key) of the settings' server, else of the one that `kizy serve` starts here.

    Raises InputError `settings_invalid`.
    """
    settings = settings or load_settings()
    key = settings.server_key.get_secret_value() if settings.server_key is not None else None
    if settings.server is not None:
        return settings.server, key
    return own_place(settings.serve).url, key


def connected(settings: Settings, timing: Timing | None = None) -> RemoteService:
    """The server of the settings, or of this machine, which answers.

    Raises EngineError `server_unreachable` in plain words where none runs.
    """
    url, key = configured_server(settings)
    service = RemoteService(url, key, timing=timing)
    try:
        RemoteService(url, key, timing=replace(timing or Timing(), tries=1)).queue()
    except AwayError as error:
        if settings.server is not None:
            raise
        message = f"No Kizy server runs here: nothing answers at {url}."
        fix = "Start one with `kizy serve`, or name another: KIZY_SERVER=http://HOST:7433"
        raise EngineError("server_unreachable", message, fix=fix, raw=error.raw) from error
    return service
