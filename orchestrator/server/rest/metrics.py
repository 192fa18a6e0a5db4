"""Numbers for Prometheus: of jobs, as the queue tells them, and of requests, as counted here."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .host import Host

OTHER = "other"
"""What requests to addresses are counted under that are no route: they must not be endless."""


class Meter:
    """All numbers of one server."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kizy_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "kizy_http_request_seconds",
            "Time to the first byte of the answer.",
            ("route",),
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request whose answer began."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, host: Host) -> bytes:
        """All numbers in Prometheus' text format. Raises StorageError."""
        jobs = CollectorRegistry()
        jobs.register(_Jobs(host))
        return generate_latest(jobs) + generate_latest(self._registry)


class _Jobs:
    """The queue's numbers, as they are now."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterator[Metric]:
        figures = self._host.figures()
        yield GaugeMetricFamily("kizy_jobs_waiting", "Jobs that wait.", figures.waiting)
        yield GaugeMetricFamily("kizy_jobs_running", "Jobs that run.", figures.running)
        jobs = GaugeMetricFamily("kizy_jobs", "Jobs by kind and state.", labels=("kind", "state"))
        for (kind, state), many in figures.jobs.items():
            jobs.add_metric((kind, state), many)
        yield jobs
        seconds = CounterMetricFamily(
            "kizy_job_seconds", "Seconds that ended jobs took.", labels=("kind",)
        )
        for kind, took in figures.seconds.items():
            seconds.add_metric((kind,), took)
        yield seconds
        ready = self._host.ready() is None
        yield GaugeMetricFamily("kizy_ready", "1 if jobs are taken, else 0.", int(ready))


class Metering:
    """ASGI middleware that counts requests by route."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self._app, self._meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", OTHER)
                seconds = time.perf_counter() - began
                self._meter.count(scope["method"], route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, counted)
