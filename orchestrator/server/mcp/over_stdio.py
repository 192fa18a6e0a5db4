"""MCP over this process's stdin and stdout, for a client that started it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from ....core.surrogates import whole_json
from ...service import Service
from .protocol_server import Terms, make_server


def serve_stdio(service: Service, terms: Terms | None = None) -> None:
    """Answer until the client is gone. Whatever else prints goes to stderr meanwhile."""
    try:
        anyio.run(_serve, service, terms)
    except* BrokenPipeError:
        # A client that died, rather than closing stdin first.
        pass


async def _serve(service: Service, terms: Terms | None) -> None:
    server = make_server(service, terms)
    lines: Any = _Lines()
    async with stdio_server(stdin=lines) as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


class _Lines:
    """The lines of stdin, with half an emoji replaced: the protocol's parser drops such a line,
    and who sent it would wait for an answer for ever.

    Whatever else reads stdin meanwhile finds it empty, as `stdio_server` has it.
    """

    def __init__(self) -> None:
        own = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # A thread may still wait for a line at the end: it is never closed under it.
        self._file = anyio.wrap_file(open(own, "rb", closefd=False))  # noqa: SIM115

    async def __aiter__(self) -> AsyncIterator[str]:
        async for line in self._file:
            yield whole_json(line).decode("utf-8", "replace")
