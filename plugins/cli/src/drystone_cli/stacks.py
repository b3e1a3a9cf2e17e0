"""`drystone stacks`: where pipelines can run."""

from __future__ import annotations

import os
from typing import Any

import click

from drystone_cli import completion, tables


@click.group()
def stacks() -> None:
    """List, show and choose stacks."""


@stacks.command("list")
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool) -> None:
    """List the stacks of this project and of the installed plugins."""
    from drystone import find_stacks

    found = find_stacks()
    active = found.active().name
    records = [_record(found, name, active) for name in found.names]
    columns: list[tables.Column] = [
        ("STACK", lambda record: record["name"]),
        ("ACTIVE", lambda record: "active" if record["active"] else None),
        ("COMPONENTS", _components),
        ("DEFINED IN", lambda record: record["source"]),
    ]
    tables.listing(records, columns, as_json=as_json, limit=limit)


@stacks.command()
@click.argument("name", required=False, shell_complete=completion.stack_names)
@tables.json_option
def show(name: str | None, as_json: bool) -> None:
    """Show a stack with its settings, the active one unless a name is given."""
    from drystone import find_stacks

    found = find_stacks()
    active = found.active().name
    record = _record(found, name or active, active)
    if as_json:
        tables.print_json([record])
        return
    tables.fields({"stack": record["name"], "active": record["active"], "defined in": record["source"]})
    for kind, component in record["components"].items():
        tables.heading(f"{kind}: {component['name']}")
        tables.fields({"class": component["class"], **component["settings"]})


@stacks.command()
@click.argument("name", shell_complete=completion.stack_names)
@tables.json_option
def use(name: str, as_json: bool) -> None:
    """Choose the stack that is used from now on in this checkout."""
    from drystone import find_stacks

    found = find_stacks()
    found.use(name)
    active = found.active().name
    text = f"This checkout uses the stack {name!r} now."
    if active != name:
        text += f"\nBut DRYSTONE_STACK={os.environ.get('DRYSTONE_STACK')} goes before that, as long as it is set."
    tables.answer(_record(found, name, active), text, as_json=as_json)


def _record(found: Any, name: str, active: str) -> dict[str, Any]:
    return {**found.get(name).describe(), "active": name == active, "source": found.source(name)}


def _components(record: dict[str, Any]) -> str:
    return ", ".join(f"{kind}={component['name']}" for kind, component in record["components"].items())
