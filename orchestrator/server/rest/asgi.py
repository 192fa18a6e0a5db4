"""The REST server as an ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from ....core.home import cache_folder
from ....core.version import VERSION
from ...settings import Settings, load_settings
from . import artifact_routes as artifacts
from . import catalog_routes as catalog
from . import event_streams as events
from . import generation_routes as generations
from . import health_routes as health
from . import interactive, openapi, problems
from . import job_routes as jobs
from . import openai_routes as openai
from . import training_routes as trainings
from . import upload_routes as uploads
from .auth import Access, Doorkeeper, Keys
from .body_limit import Intake, Pace, body_limit
from .host import Host
from .metrics import Meter, Metering
from .shutdown import Closing
from .signed_links import FileLinks
from .thumbnails import Thumbnails
from .upload_spool import ArrivingFolder

TOPICS = (
    generations,
    trainings,
    jobs,
    events,
    artifacts,
    uploads,
    catalog,
    openai,
    health,
    interactive,
)


@dataclass(frozen=True)
class Part:
    """Another ASGI app at one path of the server, such as MCP; who asks is checked before it.

    `running`: entered as long as the server runs. `body_limit`: bytes that a request may have.
    """

    path: str
    app: ASGIApp
    running: Callable[[], AbstractAsyncContextManager[None]]
    body_limit: int


def make_api(
    service: Host,
    settings: Settings | None = None,
    keys: Keys | None = None,
    *,
    parts: Sequence[Part] = (),
    pace: Pace | None = None,
    links: FileLinks | None = None,
) -> FastAPI:
    """All routes over a service. `keys` None: there are none, and none is right. `links`: what
    signs links to files; None: they end with this process.

    What `settings.serve.host` says decides whether requests without a key are trusted. Raises
    InputError `settings_invalid`. `app.state.closing.begin()` ends streams of events.
    """
    settings = settings or load_settings()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(app.state.arriving.close)
            for part in parts:
                await stack.enter_async_context(part.running())
            yield

    app = FastAPI(
        title="Kizy",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # Pages that load their scripts from elsewhere: interactive.py has one that does not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
    )
    app.state.host = service
    app.state.settings = settings
    app.state.links = links or FileLinks(hours=settings.serve.link_hours)
    app.state.closing = Closing()
    app.state.arriving = ArrivingFolder(cache_folder() / "arriving")
    app.state.thumbnails = Thumbnails()
    app.state.meter = Meter()
    problems.install(app)
    openapi.install(app)
    for topic in TOPICS:
        app.include_router(topic.router)
    # The last one is the outermost.
    for part in parts:
        # Many write a slash behind it; a redirect would lose a POST's body with some clients.
        for path in (part.path, f"{part.path}/"):
            app.router.routes.append(Route(path, part.app, include_in_schema=False))
    limits = {f"{part.path}{end}": part.body_limit for part in parts for end in ("", "/")}
    app.add_middleware(
        Intake, limit=lambda path: limits.get(path) or body_limit(path, settings.serve), pace=pace
    )
    app.add_middleware(Doorkeeper, access=Access(keys, settings.serve.host, app.state.links))
    app.add_middleware(Metering, meter=app.state.meter)
    return app
