"""`drystone workspace`: where everything is kept, and whether it is whole."""

from __future__ import annotations

import click

from drystone_cli import records, tables

COLUMNS: list[tables.Column] = [
    ("KIND", lambda finding: finding.kind),
    ("SUBJECT", lambda finding: finding.subject),
    ("WHAT", lambda finding: finding.message),
    ("WAY OUT", lambda finding: finding.remedy),
]


@click.group()
def workspace() -> None:
    """Show, verify and rebuild the workspace."""


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
