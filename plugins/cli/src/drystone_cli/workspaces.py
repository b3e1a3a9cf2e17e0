"""`drystone workspace`: where everything is kept, and whether it is whole."""

from __future__ import annotations

from typing import Any

import click

from drystone_cli import completion, counters, records, tables
from drystone_cli.artifacts import delivered

COLUMNS: list[tables.Column] = [
    ("KIND", lambda finding: finding.kind),
    ("SUBJECT", lambda finding: finding.subject),
    ("WHAT", lambda finding: finding.message),
    ("WAY OUT", lambda finding: finding.remedy),
]


@click.group()
def workspace() -> None:
    """Show, verify, rebuild and copy the workspace."""


@workspace.command()
@tables.json_option
def info(as_json: bool) -> None:
    """Show where the workspace is and what it holds."""
    found = records.workspace().info()
    if as_json:
        tables.print_json([found])
        return
    if "size" in found:
        writers = [
            f"{each['author']}@{each['host']} ({each['drystone']}, {each['at'][:16]})" for each in found["writers"]
        ]
        found |= {"size": tables.size(found["size"]), "writers": "; ".join(writers)}
        if found["round_trip"] is not None:
            found["round_trip"] = f"{1000 * found['round_trip']:.0f} ms"
    tables.fields({name.replace("_", " "): value for name, value in found.items()})


@workspace.command()
@tables.json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Check the whole ledger, the index and every blob. Exit code 1 if anything is wrong."""
    found = records.workspace().verify()
    tables.listing(found, COLUMNS, as_json=as_json)
    if not found and not as_json:
        print("Everything is whole.")
    ctx.exit(1 if found else 0)


@workspace.command()
@tables.json_option
def checkpoint(as_json: bool) -> None:
    """Keep a copy of this machine's replica beside a shared ledger: new machines open it faster."""
    current = records.workspace()
    name = current.keep_checkpoint()
    text = f"The checkpoint {name} is kept. Machines with the same version of Drystone begin with it."
    tables.answer({"checkpoint": name}, text, as_json=as_json)


@workspace.command()
@tables.json_option
def rebuild(as_json: bool) -> None:
    """Make the index anew from the ledger."""
    current = records.workspace()
    current.rebuild()
    tables.answer(current.info(), "The index was made anew from the ledger.", as_json=as_json)


@workspace.command()
@click.argument("source")
@click.argument("destination")
@click.option(
    "-s",
    "--stack",
    metavar="STACK",
    help="The stack whose artifact store gets the stored bytes (default: the active one).",
    shell_complete=completion.stack_names,
)
@click.option("--artifacts/--no-artifacts", default=True, help="Whether stored bytes are copied as well.")
@tables.json_option
@click.pass_context
def copy(ctx: click.Context, source: str, destination: str, stack: str | None, artifacts: bool, as_json: bool) -> None:
    """Copy a workspace: SOURCE and DESTINATION are directories of this machine or URLs.

    The destination is empty or holds an earlier copy. Stopped at any point, it goes on where it stood when it is called
    again. Exits with 1 if some stored bytes are nowhere to be had; all else is copied then.
    """
    from drystone import copy_workspace

    with counters.counter("copying") as told:
        done = copy_workspace(source, destination, stack=stack, artifacts=artifacts, told=told)
    seq, digest = done.head
    record = {
        "source": done.source,
        "destination": done.destination,
        "commits": done.commits,
        "head": digest,
        "ahead": done.ahead,
        "blobs_copied": len(done.blobs.copied),
        "blobs_there": done.blobs.there,
        "blobs_lost": done.blobs.lost,
        "size": done.blobs.size,
    }
    tables.answer(record, "\n".join(_told(done, seq, artifacts)), as_json=as_json)
    if done.blobs.lost:
        click.echo(f"Error: {done.blobs.problem}", err=True)
        ctx.exit(1)


def _told(done: Any, seq: int, artifacts: bool) -> list[str]:
    beyond = f" It has {done.ahead} more of its own." if done.ahead else ""
    lines = [f"{done.destination} has all {seq} commits of {done.source}; {done.commits} were copied now.{beyond}"]
    return [*lines, delivered(done.blobs)] if artifacts else lines
