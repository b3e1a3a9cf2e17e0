"""`drystone compact`: give back the space of what was deleted."""

from __future__ import annotations

import click

from drystone import Workspace, find_stacks
from drystone_example.artifact_store import SqliteArtifactStore


@click.command("compact")
@click.argument("stack", required=False)
def compact(stack: str | None) -> None:
    """Give back the disk space of deleted artifacts in the SQLite file of a STACK, by default the active one."""
    chosen = find_stacks().active(stack).at(Workspace.current().place)
    store = chosen.artifact_store
    if not isinstance(store, SqliteArtifactStore):
        raise click.UsageError(
            f"The artifact store of stack {chosen.name!r} is {type(store).__name__}, which has nothing to compact. "
            "Name a stack with a SqliteArtifactStore."
        )
    click.echo(f"{store.identity}: {store.compact():,} bytes given back.")
