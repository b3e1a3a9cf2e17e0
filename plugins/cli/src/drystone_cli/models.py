"""`drystone models`: models, their versions, and which of them holds which stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from drystone_cli import completion, records, tables
from drystone_cli.artifacts import maker

MEASURES = 8
"""How many metadata values a table of versions shows side by side."""

COLUMNS: list[tables.Column] = [
    ("MODEL", lambda model: model.name),
    ("VERSIONS", lambda model: model.versions),
    ("LATEST", lambda model: model.latest),
    ("STAGES", lambda model: model.stages),
    ("TAGS", lambda model: model.tags),
    ("DESCRIPTION", lambda model: model.description),
]

VERSION_COLUMNS: list[tables.Column] = [
    ("VERSION", lambda version: version.number),
    ("NAME", lambda version: version.name),
    ("STATUS", lambda version: version.status),
    ("STAGES", lambda version: [*version.stages, *(["archived"] if version.archived else [])]),
    ("CREATED", lambda version: version.created_at),
    ("RUNS", lambda version: runs_text(version)),
]

MOVE_COLUMNS: list[tables.Column] = [
    ("WHEN", lambda move: move.at),
    ("STAGE", lambda move: move.stage),
    ("ACTION", lambda move: move.action),
    ("VERSION", lambda move: move.number),
    ("BEFORE", lambda move: move.previous),
    ("WHO", lambda move: move.author),
    ("WHY", lambda move: move.reason),
]

model_argument = click.argument("model", shell_complete=completion.model_names)


@click.group()
def models() -> None:
    """Show models, compare their versions, promote the best."""


@models.command("list")
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool) -> None:
    """List models with the versions that hold their stages."""
    found = records.workspace().models(limit=limit + 1)
    tables.listing(found, COLUMNS, as_json=as_json, limit=limit, empty="No models here.")


@models.command()
@click.argument("reference", metavar="MODEL[@VERSION]", shell_complete=completion.model_names)
@tables.json_option
def show(reference: str, as_json: bool) -> None:
    """Show one version of a model: by number, name or stage, the latest unless one is given."""
    model, _, selector = reference.partition("@")
    version = records.workspace().model_version(model, _selector(selector or "latest"))
    if as_json:
        tables.print_json([version])
        return
    columns = [*VERSION_COLUMNS, ("TAGS", lambda version: version.tags)]
    tables.fields({"model": model} | {title.lower(): value(version) for title, value in columns})
    if version.metadata:
        tables.heading("Metadata")
        tables.fields(version.metadata)
    linked = [("output", each) for each in version.artifacts.values()]
    linked += [("input", each) for each in version.inputs.values()]
    if linked:
        tables.heading("Artifacts")
        tables.table(["ARTIFACT", "ROLE", "TYPE", "MADE BY"], [[str(v), role, v.type, maker(v)] for role, v in linked])


@models.command()
@model_argument
@tables.limit_option
@tables.json_option
def versions(model: str, limit: int, as_json: bool) -> None:
    """List the versions of a model, their metadata side by side."""
    workspace = records.workspace()
    _check_known(workspace, model)
    found = workspace.model_versions(model, limit=limit + 1)
    columns = [*VERSION_COLUMNS, *_measures(found[:limit])]
    tables.listing(found, columns, as_json=as_json, limit=limit, empty=f"{model} has no versions yet.")


@models.command()
@model_argument
@click.argument("version")
@click.argument("stage", shell_complete=completion.stage_names)
@click.option("--reason", help="Why; kept in the history.")
@click.option("--expect", metavar="NUMBER", help="Only if this version holds the stage now; `none`: if it is free.")
@tables.json_option
def promote(model: str, version: str, stage: str, reason: str | None, expect: str | None, as_json: bool) -> None:
    """Give a STAGE, such as production, to a VERSION: a number, a name, a stage or `latest`."""
    workspace = records.workspace()
    options: dict[str, Any] = {} if expect is None else {"expect": _expected(expect)}
    with workspace.reading() as found:
        before = found.index.stages(model).get(stage)
    after = workspace.promote(model, _selector(version), stage, reason=reason, **options)
    was = f" It was {before}." if before not in (None, after.number) else ""
    tables.answer(after, f"Version {after.number} of {model} holds {stage!r} now.{was}", as_json=as_json)


@models.command()
@model_argument
@click.argument("stage", shell_complete=completion.stage_names)
@click.option("--reason", help="Why; kept in the history.")
@tables.json_option
def rollback(model: str, stage: str, reason: str | None, as_json: bool) -> None:
    """Give a STAGE back to the version that held it before the last promotion."""
    after = records.workspace().rollback(model, stage, reason=reason)
    tables.answer(after, f"Version {after.number} of {model} holds {stage!r} again.", as_json=as_json)


@models.command()
@model_argument
@click.argument("stage", required=False, shell_complete=completion.stage_names)
@tables.limit_option
@tables.json_option
def history(model: str, stage: str | None, limit: int, as_json: bool) -> None:
    """Show who held which stage, since when, by whom and why; the newest first."""
    workspace = records.workspace()
    _check_known(workspace, model)
    moves = workspace.stage_history(model, stage)[::-1]
    tables.listing(moves, MOVE_COLUMNS, as_json=as_json, limit=limit, empty=f"No version of {model} held a stage yet.")


def _check_known(workspace: Any, model: str) -> None:
    from drystone.errors import NotFoundError, suggestion

    with workspace.reading() as found:
        names = found.index.names("model")
    if model not in names:
        raise NotFoundError(f"There is no model {model!r}.{suggestion(model, names, 'Models')}")


def _selector(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _expected(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        raise click.UsageError(f"--expect takes the number of a version or `none`, not {text!r}.")
    return int(text)


def runs_text(version: Any) -> str:
    """The run that made a version or first used it, and how many came after: `training-3 and 2 more`."""
    more = len(version.runs) - 1
    return f"{version.runs[0]} and {more} more" if more > 0 else "".join(version.runs)


def _measures(found: Sequence[Any]) -> list[tables.Column]:
    """A column for each plain value in the metadata of the versions."""
    names: dict[str, None] = {}
    for version in found:
        names |= dict.fromkeys(name for name, value in version.metadata.items() if isinstance(value, int | float | str))
    return [_measure(name) for name in list(names)[:MEASURES]]


def _measure(name: str) -> tables.Column:
    return name, lambda version: version.metadata.get(name)
