"""docs/mcp.md: what it lists is what the server has, and what it shows works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from kizy.orchestrator.cli.main import app
from kizy.orchestrator.server.mcp.arguments import MAX_WAIT
from kizy.orchestrator.server.mcp.inputs import MAX_INLINE
from kizy.orchestrator.server.mcp.shown import MAX_SHOWN, MAX_SIDE
from kizy.orchestrator.server.mcp.tools import TOOLS
from typer.main import get_command

Speak = Callable[..., None]
PAGE = (Path(__file__).parents[3] / "docs" / "mcp.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
CALLS = [block for block in BLOCKS if "tool" in block]
CONFIGURATIONS = [block for block in BLOCKS if "tool" not in block]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    table = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_lists_the_tools_that_the_server_lists() -> None:
    listed = {}
    for name, title, arguments in rows("Tools"):
        words = arguments.split(", ")
        required = [word.strip("*") for word in words if word.startswith("**")]
        listed[name.strip("`")] = (title, required, {word.strip("*") for word in words})
    there = {}
    for tool in TOOLS:
        schema = tool.listed().input_schema
        required = schema.get("required", [])
        there[tool.name] = (tool.title, required, set(schema["properties"]))
    assert listed == there


def test_the_page_lists_the_options_of_the_command() -> None:
    command: Any = get_command(app)
    options = {opt for param in command.commands["mcp"].params for opt in param.opts}
    listed = {re.findall("--[a-z]+", row[0])[0] for row in rows("kizy mcp")}
    assert listed == options - {"--help"}


def test_the_conversation_of_the_page_works(speak: Speak, service: Any) -> None:
    tools = {tool.name: tool.listed().input_schema for tool in TOOLS}
    assert {call["tool"] for call in CALLS} == set(tools)

    async def conversation(talk: Any) -> None:
        known = {"PICTURE": "", "JOB": ""}
        for call in CALLS:
            values = call["arguments"]
            for word, id_ in known.items():
                values = json.loads(json.dumps(values).replace(f'"{word}"', json.dumps(id_)))
            Draft202012Validator(tools[call["tool"]]).validate(values)
            answer = await talk.call(call["tool"], **values)
            assert not answer.failed, answer.text
            facts = (answer.result.meta or {}).get("kizy/job")
            if facts is not None:
                known["JOB"] = facts["job_id"]
                pictures = [file["id"] for file in facts["files"] if file["kind"] == "picture"]
                known["PICTURE"] = pictures[0] if pictures else known["PICTURE"]

    speak(conversation)


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: str(block)[:60])
def test_the_configurations_of_the_page_start_kizy_or_name_its_address(
    block: dict[str, Any],
) -> None:
    entry = next(iter(block.values()))["kizy"]
    if "url" in entry:
        assert entry["url"].endswith(":7433/mcp")
        return
    assert entry["command"] == "kizy"
    command: Any = get_command(app)
    name, *options = entry["args"]
    # Raises for an option that there is not.
    command.commands[name].make_context(name, options)


def test_the_numbers_of_the_page_are_those_of_the_server() -> None:
    megabytes = MAX_INLINE // 10**6
    for words in (
        f"up to {MAX_WAIT:.0f} seconds",
        f"at most {MAX_SIDE} pixels",
        f"at most {megabytes} MB",
    ):
        assert words in PAGE
    assert MAX_SHOWN == 4
    assert "up to four pictures" in PAGE
