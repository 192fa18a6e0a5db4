"""The MCP server over a Service; over_stdio.py and over_http.py carry it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from ....core.errors import EngineError, KizyError
from ....core.surrogates import whole
from ....core.version import VERSION
from ...service import Service
from . import resources
from .arguments import MAX_WAIT, read
from .artifact_locations import NOWHERE, Places, Scope
from .call import Call
from .follow_job import in_thread
from .results import error_answer
from .tools import TOOLS

log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
_BASICS = (
    "Kizy draws pictures, changes and improves them, and trains LoRAs. A sentence is enough: Kizy"
    " picks model, LoRAs, style and size by itself, and says why; pass the reasons on when somebody"
    " asks. Leave options out unless the person wants them. Pictures are named by the id that comes"
    " with them, so that edit and improve can take them up again. What takes long gives a job_id:"
    " ask job_status, with wait_seconds, instead of drawing again."
)

_FLEETING = (
    " Jobs end when this client does: tell the person so before a training. With a Kizy server"
    " (`kizy serve`, and KIZY_SERVER set for `kizy mcp`) they go on."
)


@dataclass(frozen=True)
class Terms:
    """What the place decides where the server runs.

    `folders`: from which pictures may be read by path: only where client and server are on the
    person's own machine. `owner`: whose new jobs become, by scope; None: the service's own choice.
    `places`: where the person finds files. `patience`: seconds that a call waits for a drawing.
    `stopping`: whether the server is being stopped. `fleeting`: jobs end with this process.
    """

    folders: tuple[Path, ...] = ()
    owner: Callable[[Scope], str | None] = lambda _scope: None
    places: Places = NOWHERE
    patience: float = MAX_WAIT
    stopping: Callable[[], bool] = lambda: False
    fleeting: bool = False


def make_server(service: Service, terms: Terms | None = None) -> Server[Any]:
    """An MCP server of one service: for stdio, and for clients in this process."""
    return server_for(lambda _scope: service, terms or Terms())


def server_for(service_for: Callable[[Scope], Service], terms: Terms) -> Server[Any]:
    """The same with a service for each message: over HTTP, each key sees its own jobs."""
    tools = {tool.name: tool for tool in TOOLS}
    listed = [tool.listed() for tool in TOOLS]

    async def list_tools(
        _context: Context, _page: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        context: Context, asked: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = tools.get(asked.name)
        if tool is None:
            message = f"There is no tool {asked.name[:80]!r}. There is: {', '.join(tools)}."
            raise MCPError(code=types.INVALID_PARAMS, message=message)
        try:
            call = _call(context, service_for, terms)
            return whole(await tool.run(call, read(tool.arguments, asked.arguments)))
        except Exception as error:
            return whole(error_answer(_in_words(error, tool.name)))

    async def list_resources(
        context: Context, page: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        try:
            service = service_for(_scope(context))
            found = await in_thread(resources.listed, service, page.cursor if page else None)
            # A name or title may come from a file name or a client that cut it in two.
            return whole(found)
        except Exception as error:
            raise resources.refused(_in_words(error, "resources/list")) from None

    async def list_templates(
        _context: Context, _page: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(resources.TEMPLATES))

    async def read_resource(
        context: Context, asked: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        try:
            call = _call(context, service_for, terms)
            found = await in_thread(resources.content, call.service, str(asked.uri), call.link)
            return whole(found)
        except Exception as error:
            raise resources.refused(_in_words(error, "resources/read")) from None

    return Server(
        "kizy",
        version=VERSION,
        title="Kizy",
        description="Draws pictures from a sentence, and says why as it does.",
        instructions=_BASICS
        + _about_folders(terms.folders)
        + (_FLEETING if terms.fleeting else ""),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _call(context: Context, service_for: Callable[[Scope], Service], terms: Terms) -> Call:
    scope = _scope(context)
    return Call(
        service=service_for(scope),
        send_progress=context.session.report_progress,
        owner=terms.owner(scope),
        places=terms.places,
        scope=scope,
        folders=terms.folders,
        patience=terms.patience,
        stopping=terms.stopping,
    )


def _scope(context: Context) -> Scope:
    return dict(context.request.scope) if context.request is not None else {}


def _about_folders(folders: tuple[Path, ...]) -> str:
    if not folders:
        return ""
    shown = ", ".join(str(folder) for folder in folders)
    return f" Pictures on this machine may be named by their path below: {shown}."


def _in_words(error: Exception, doing: str) -> KizyError:
    """The error; of what Kizy did wrong itself the kind is told, its words are left to the log."""
    if isinstance(error, KizyError):
        return error
    log.error("%s failed", doing, exc_info=error)
    message = f"Kizy made a mistake ({type(error).__name__})."
    fix = "Try it another way; the server's log says more."
    return EngineError("server_mistake", message, fix=fix)
