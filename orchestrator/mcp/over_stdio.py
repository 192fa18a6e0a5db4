"""MCP over this process's stdin and stdout, for a client that started it."""

from __future__ import annotations

import anyio
from mcp.server.stdio import stdio_server

from ..service import Service
from .server import Terms, make_server


def serve_stdio(service: Service, terms: Terms | None = None) -> None:
    """Answer until the client is gone. Whatever else prints goes to stderr meanwhile."""
    try:
        anyio.run(_serve, service, terms)
    except* BrokenPipeError:
        # A client that died, rather than closing stdin first.
        pass


async def _serve(service: Service, terms: Terms | None) -> None:
    server = make_server(service, terms)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
