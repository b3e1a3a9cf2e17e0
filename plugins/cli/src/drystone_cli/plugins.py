"""`drystone plugins`: what is here, what it offers, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click

from drystone_cli import extensions, scaffolds, tables

COLUMNS: list[tables.Column] = [
    ("PLUGIN", lambda record: record["name"]),
    ("STATE", lambda record: record["state"]),
    ("DISTRIBUTION", lambda record: record["distribution"]),
    ("VERSION", lambda record: record["version"]),
    ("OFFERS", lambda record: _offers(record)),
    ("ERROR", lambda record: record["error"]),
]

REMEDIES = {
    "broken": "Correct or reinstall it, or block it: DRYSTONE_PLUGINS_DISABLE={name}.",
    "blocked": "It was asked for: DRYSTONE_PLUGINS_DISABLE or --no-plugins.",
}
"""What can be done, where a state's error does not say so itself."""


@click.group()
def plugins() -> None:
    """List plugins, find out what is wrong, write new ones."""


plugins.add_command(scaffolds.new)


@plugins.command("list")
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool) -> None:
    """List the plugins that are here, and what each of them offers."""
    tables.listing(_records(_loaded()), COLUMNS, as_json=as_json, limit=limit, empty="No plugins are installed.")


@plugins.command()
@tables.json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Load everything that plugins offer, and explain what is wrong. Exit code 1 if anything is."""
    found = _loaded()
    problems = dict.fromkeys([*found.problems(), *found.strays()])
    records = _records(found)
    if as_json:
        tables.print_json([*records, *map(_stray, found.strays())])
    else:
        for problem in problems:
            print(problem)
        for record in records:
            _explain(record)
        if not problems:
            blocked = sum(record["state"] == "blocked" for record in records)
            print(f"{len(records)} plugins, {f'{blocked} of them blocked' if blocked else 'all in order'}.")
    ctx.exit(1 if problems else 0)


def _loaded() -> Any:
    import logging

    from drystone import load_plugins

    logging.getLogger("drystone.plugins").addHandler(logging.NullHandler())  # what is wrong is told here
    return load_plugins()


def _records(found: Any) -> list[dict[str, Any]]:
    return [_record(found, plugin) for plugin in found.examined()]


def _record(found: Any, plugin: Any) -> dict[str, Any]:
    hooked = found.offers(plugin)
    entries = [each for each in entry_points(group=extensions.GROUP) if extensions.origin(each) == plugin.distribution]
    is_installed = not plugin.distribution.endswith(".py")
    unnamed = sorted({*hooked["commands"]} - {each.name for each in entries}) if is_installed else []
    return {
        **{name: getattr(plugin, name) for name in ("name", "distribution", "version", "module", "state")},
        "error": plugin.summary or None,
        "traceback": plugin.traceback,
        "offers": {**hooked, "commands": sorted({*hooked["commands"], *(each.name for each in entries)})},
        "notes": [_unnamed(name, plugin.module) for name in unnamed],
    }


def _unnamed(command: str, module: str) -> str:
    return (
        f"The command {command!r} is not listed by `drystone --help`, since no entry point names it. In its "
        f'pyproject.toml, under [project.entry-points."{extensions.GROUP}"]: {command} = "{module}".'
    )


def _stray(problem: str) -> dict[str, Any]:
    """The record of a problem that belongs to no plugin."""
    names = ("name", "distribution", "version", "module", "state")
    return {**dict.fromkeys(names), "error": problem, "traceback": None, "offers": {}, "notes": []}


def _offers(record: dict[str, Any]) -> list[str]:
    return [text for what, names in record["offers"].items() for text in _offer(what, names)]


def _offer(what: str, names: list[str]) -> Iterator[str]:
    """Components by kind and name, and of the rest what it is."""
    if what == "components":
        yield from names
    elif names:
        yield f"{what.replace('_', ' ')}: {' '.join(names)}"


def _explain(record: dict[str, Any]) -> None:
    """What is known of a plugin that is not active, or that something is noted of."""
    remedy = REMEDIES.get(record["state"], "").format(**record)
    texts = [text for text in (record["traceback"] or record["error"], remedy, *record["notes"]) if text]
    if not texts:
        return
    tables.heading(f"{record['name']}, {record['distribution']} {record['version']}".rstrip() + f": {record['state']}")
    for text in texts:
        print(text)
