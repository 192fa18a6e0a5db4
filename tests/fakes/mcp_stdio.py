"""A program for tests: Kizy's tools over stdin and stdout, with a fake service behind them.

python -m tests.fakes.mcp_stdio FOLDER [--held]. It prints in between, which no client may see.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kizy.core.plan import Plan
from kizy.core.request import GenerationRequest
from kizy.orchestrator.server.mcp.over_stdio import serve_stdio
from kizy.orchestrator.server.mcp.protocol_server import Terms

from tests.fakes.service import FakeService


class _Talkative(FakeService):
    """Prints to stdout, as a library that draws may."""

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        print("This is no message of the protocol.", flush=True)
        return super().plan(request, raw=raw)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve_stdio(_Talkative(folder, held="--held" in sys.argv), Terms(patience=0.2))
