"""What the tests of compiling share: a compiled graph, and looks into it by its nodes' titles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kizy.core.plan import EnlargeStage, ModelFile, Plan, SecondPassStage
from kizy.orchestrator.backends.comfyui.workflows.compile import Compiled, compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import template_for
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

MakePlan = Callable[..., Plan]
ServerWith = Callable[..., ServerFacts]

SECOND = SecondPassStage(factor=1.5, strength=0.4, steps=20)
ENLARGE = EnlargeStage(factor=2, model=ModelFile(name="starter-enlarger-x4"))


def node(compiled: Compiled, title: str) -> dict[str, Any]:
    return next(n for n in compiled.graph.values() if n["_meta"]["title"] == title)


def titles(compiled: Compiled) -> list[str]:
    return [n["_meta"]["title"] for n in compiled.graph.values()]


def source(compiled: Compiled, node_title: str, name: str) -> str:
    """The title of the node that an input comes from."""
    return compiled.graph[node(compiled, node_title)["inputs"][name][0]]["_meta"]["title"]


def compiled_on(server: ServerFacts, plan: Plan, **more: Any) -> Compiled:
    return compile_plan(plan, template_for(plan, server), server, **more)
