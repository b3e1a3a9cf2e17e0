"""`drystone replay`: one step of a recorded run again, here, with the code as it is now."""

from __future__ import annotations

import sys
from collections.abc import Sized
from typing import Any

import click

from drystone_cli import completion, records, tables

LONGEST = 100
"""Characters of an output that are shown as they are."""


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@click.argument("step", shell_complete=completion.step_names)
@click.option("--debug", is_flag=True, expose_value=False, help="Enter the debugger where the step raises.")
@tables.json_option
@click.pass_context
def replay(ctx: click.Context, /, name: str, step: str, as_json: bool) -> None:
    """Run a STEP of a RUN again on what it was given then, in this process, with the code as it is now.

    Nothing is recorded. What the step prints is printed, and breakpoints work.
    """
    from drystone.errors import DrystoneError

    debug = bool(ctx.obj)
    try:
        found = records.workspace().replay(name, step, debug=debug, announce=None if as_json else _announce)
    except Exception as exc:
        if isinstance(exc, DrystoneError) or not debug:
            raise
        print(f"Error: {type(exc).__name__}: {exc}", file=sys.stderr)  # its traceback was shown in the debugger
        ctx.exit(1)
    if as_json:
        tables.print_json([_record(found)])
    else:
        _print(found)


def _announce(found: Any) -> None:
    """Say, before the step is called, which code is called and on what."""
    code = "with today's code, which differs:" if found.changes else "with the code that ran then"
    lines = [line for cause in found.changes for line in cause.lines()] + list(found.notes)
    tables.reasons("\n".join([f"{found.step} of {found.run}, {code}", *(f"      {line}" for line in lines)]))


def _print(found: Any) -> None:
    for name, value in found.outputs.items():
        print(f"{name}: {summary(value)} ({_compared(found, name)})")
    if found.metadata:
        tables.fields({"logged": found.metadata})


def _compared(found: Any, name: str) -> str:
    recorded = found.recorded.get(name)
    if recorded is None:
        return "nothing to compare it with"
    return {
        True: f"the same as {recorded}",
        False: f"not the same as {recorded}",
        None: f"its format cannot tell whether it is the same as {recorded}",
    }[found.equal[name]]


def _record(found: Any) -> dict[str, Any]:
    outputs = {
        name: {"text": summary(value), "equal": found.equal[name], "recorded": str(recorded) if recorded else None}
        for name, value in found.outputs.items()
        for recorded in [found.recorded.get(name)]
    }
    kept = {name: getattr(found, name) for name in ("run", "step", "changes", "notes", "metadata")}
    return {**kept, "outputs": outputs}


def summary(value: Any) -> str:
    """A value in one line: itself if it is short, else what it is and how large."""
    try:
        text = repr(value)
    except Exception:  # whatever its class does
        text = ""
    if text and len(text) <= LONGEST and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    if shape is None and isinstance(value, Sized):
        shape = len(value)
    return type(value).__qualname__ if shape is None else f"{type(value).__qualname__} of size {shape}"
