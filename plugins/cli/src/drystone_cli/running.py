"""`drystone run`, `plan` and `resume`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from drystone_cli import completion, records, tables

ON_ERROR = ("continue", "stop", "fail_fast")

WOULD_RUN = 2
"""The exit code of `plan` where anything would or may run."""

PATIENCE = 3
"""Seconds after which `cancel` says what it waits for."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `run` and `plan` have in common."""
    for decorate in reversed(
        [
            click.argument("target"),
            click.option(
                "--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; repeatable."
            ),
            click.option(
                "--params",
                "files",
                multiple=True,
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Parameters and options, in TOML, JSON or YAML; repeatable.",
            ),
            click.option("--stack", "-s", help="The stack to run on.", shell_complete=completion.stack_names),
            click.option("--no-cache", is_flag=True, help="Compute everything, even what is stored."),
            click.option("--rerun", multiple=True, metavar="STEP", help="Compute this step, and what depends on it."),
            click.option("--on-error", type=click.Choice(ON_ERROR), help="What to do once a step has failed."),
            click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", help="A tag of the run; repeatable."),
            click.option("--version-name", "version", metavar="NAME", help="How the model version it makes is called."),
            tables.json_option,
        ]
    ):
        command = decorate(command)
    return command


def _prepared(
    target: str, params: tuple[str, ...], files: tuple[Path, ...], tags: tuple[str, ...], **options: Any
) -> tuple[Any, dict[str, Any]]:
    """The pipeline with its options, and its arguments."""
    from drystone import find_pipeline, project_root
    from drystone_cli.parameters import requested

    options |= {"cache": False if options.pop("no_cache") else None, "rerun": [*options["rerun"]] or None}
    return requested(find_pipeline(target, project_root()), params, files, tags, **options)


detach_option = click.option("--detach", is_flag=True, help="Run it in the background, where it survives the terminal.")


def _detach(as_json: bool) -> None:
    """Leave the rest to a process in the background, if this is not that process."""
    from drystone_cli import detached

    detached.start(click.get_current_context(), as_json=as_json)


@click.command()
@_options
@detach_option
def run(as_json: bool, detach: bool, **chosen: Any) -> None:
    """Run the pipeline at TARGET: module:pipeline, or path/to/file.py:pipeline."""
    if detach:
        _detach(as_json)
    pipeline, arguments = _prepared(**chosen)
    is_debugged = bool(click.get_current_context().obj)
    if is_debugged:
        pipeline = pipeline.with_options(debug=True)
    _finish(lambda: pipeline(**arguments), as_json, quiet=is_debugged)


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@tables.json_option
def cancel(name: str, as_json: bool) -> None:
    """Cancel a RUN, in whatever process on this machine it is driven. What it has finished stays."""
    import time

    workspace = records.workspace()
    workspace.cancel(name)
    began, is_told = time.monotonic(), False
    while workspace.run(name).status == "running":
        workspace.mark_crashed()
        if not is_told and time.monotonic() - began > PATIENCE:
            text = f"{name} has been asked to end, and is still inside a step. Ctrl-C stops this waiting."
            print(text, file=sys.stderr)
            is_told = True
        time.sleep(0.05)
    if as_json:
        tables.print_json([workspace.run(name)])
    else:
        print(f"{name} {workspace.run(name).status}")


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@tables.json_option
@detach_option
def resume(name: str, as_json: bool, detach: bool) -> None:
    """Go on with a RUN that crashed, failed or was cancelled. What is done and still valid is kept."""
    if detach:
        _detach(as_json)
    _finish(lambda: records.workspace().resume(name), as_json)


@click.command()
@_options
@click.pass_context
def plan(ctx: click.Context, /, as_json: bool, **chosen: Any) -> None:
    """Say what a run of TARGET would do, and why. Exit code 2 if anything would run."""
    pipeline, arguments = _prepared(**chosen)
    _warn()
    found = pipeline.plan(**arguments)
    if as_json:
        tables.print_json(found.steps.values())
    else:
        tables.reasons(str(found))
    ctx.exit(WOULD_RUN if found.would_run else 0)


def _finish(execute: Callable[[], Any], as_json: bool, *, quiet: bool = False) -> None:
    """Run something, show how it goes unless somebody debugs it, and print the record."""
    import contextlib

    from drystone.errors import RunFailedError
    from drystone_cli.detached import reporting
    from drystone_cli.progress import progress

    _warn()
    try:
        with contextlib.nullcontext() if quiet else progress(), reporting(click.get_current_context()):
            record = execute()
    except RunFailedError as exc:
        if as_json:
            tables.print_json([exc.run])
        raise
    if as_json:
        tables.print_json([record])
    else:
        _summary(record)


def _warn() -> None:
    """Tell of installed plugins that are broken: what they would have done, such as sending a message, is not done."""
    import logging

    from drystone import load_plugins

    logging.getLogger("drystone.plugins").addHandler(logging.NullHandler())  # told here, with what offers lack as well
    for problem in load_plugins().problems():
        print(f"Warning: {problem}", file=sys.stderr)


def _summary(record: Any) -> None:
    from drystone_cli.runs import steps_text

    tables.fields(
        {
            "run": record.name,
            "status": record.status,
            "steps": steps_text(record),
            "took": tables.duration(record),
            "model version": record.model_version,
            "outputs": list(record.outputs.values()),
            "more": f"drystone runs show {record.name}",
        }
    )
