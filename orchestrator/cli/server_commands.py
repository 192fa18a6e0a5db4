"""`kizy serve` and `kizy keys ...`: parses, and hands over."""

from __future__ import annotations

from typing import Annotated

import typer

keys = typer.Typer(
    help="Make, list and withdraw the keys of this machine's server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; others than 127.0.0.1 want keys.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 7433 if unset.")] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log each request.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log all that happens.")] = False,
) -> None:
    """Serve REST and MCP, with a queue of jobs that nothing is lost from."""
    from . import serve as page

    page.serve(host=host, port=port, access_log=access_log, debug=debug)


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Whose jobs it asks for.")],
    admin: Annotated[bool, typer.Option("--admin", help="It sees and may do everything.")] = False,
    json_: Json = False,
) -> None:
    """Make a key. It is shown this once."""
    from . import keys as page

    page.add(name, admin=admin, as_json=json_)


@keys.command("list")
def list_keys(json_: Json = False) -> None:
    """List the keys that are right, without their words."""
    from . import keys as page

    page.list_all(as_json=json_)


@keys.command("withdraw")
def withdraw_key(
    name: Annotated[str, typer.Argument(help="A key's id; or a name, for all its keys.")],
    json_: Json = False,
) -> None:
    """Make a key wrong from now on."""
    from . import keys as page

    page.withdraw(name, as_json=json_)
