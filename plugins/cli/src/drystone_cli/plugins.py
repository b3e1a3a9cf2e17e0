"""`drystone plugins`: what is installed, and what is wrong with it."""

from __future__ import annotations

import click

from drystone_cli import scaffolds, tables

COLUMNS: list[tables.Column] = [
    ("PLUGIN", lambda plugin: plugin.name),
    ("STATE", lambda plugin: plugin.state),
    ("DISTRIBUTION", lambda plugin: plugin.distribution),
    ("VERSION", lambda plugin: plugin.version),
    ("MODULE", lambda plugin: plugin.module),
    ("ERROR", lambda plugin: plugin.summary),
]


@click.group()
def plugins() -> None:
    """List plugins, find out what is wrong with them, and write new ones."""


plugins.add_command(scaffolds.new)


@plugins.command("list")
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool) -> None:
    """List the installed plugins."""
    from drystone import load_plugins

    tables.listing(load_plugins().all, COLUMNS, as_json=as_json, limit=limit, empty="No plugins are installed.")


@plugins.command()
@tables.json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Load everything that plugins offer, and explain what is wrong. Exit code 1 if anything is."""
    from drystone import load_plugins

    found = load_plugins()
    problems = found.problems()
    if as_json:
        tables.print_json([{"problem": problem} for problem in problems])
    else:
        for problem in problems:
            print(problem)
        for plugin in found.all:
            if plugin.error:
                tables.heading(f"{plugin.name}, {plugin.distribution} {plugin.version}")
                print(plugin.error)
        if not problems:
            print(f"{len(found.all)} plugins, all in order.")
    ctx.exit(1 if problems else 0)
