"""What the command line says when something goes wrong: one paragraph, and a traceback only of the user's own code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import click

from drystone.errors import (
    DrystoneError,
    NotFoundError,
    ParameterError,
    RunFailedError,
    StackNotFoundError,
    StepFailedError,
    TargetError,
)

FAILED, USAGE, INTERRUPTED = 1, 2, 130

NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""How click says, from 8.2 on, that a group was called alone; its message is the help."""

WRONG_USAGE = (ParameterError, TargetError, StackNotFoundError, NotFoundError)
"""Errors that say that the command line names something which does not exist or does not fit."""


def report(exc: BaseException, *, debug: bool) -> int:
    """Print an error to stderr; returns the exit code."""
    for line in _lines(exc, debug):
        print(line, file=sys.stderr)
    return _code(exc)


def _lines(exc: BaseException, debug: bool) -> Iterator[str]:
    if isinstance(exc, KeyboardInterrupt | click.Abort):
        yield "Interrupted."
    elif debug:
        yield "".join(traceback.format_exception(exc)).rstrip()
    elif isinstance(exc, NO_ARGUMENTS):
        yield exc.format_message()
    elif isinstance(exc, click.ClickException):
        yield f"Error: {_usage(exc)}"
    elif isinstance(exc, DrystoneError):
        yield from _own(exc)
        yield f"Error: {exc}"
    elif isinstance(exc, OSError) and _users(exc.__traceback__) is None:
        yield f"Error: {exc}."
    else:
        yield from _shown(exc)


def _own(exc: DrystoneError) -> Iterator[str]:
    """The traceback of user code that raised in a run."""
    cause = exc.__cause__
    if not isinstance(exc, RunFailedError) or cause is None:
        return
    if isinstance(cause, StepFailedError):
        yield str(cause).rstrip()
    elif not isinstance(cause, DrystoneError) or _users(cause.__traceback__):  # else its message says it all
        yield from _shown(cause)


def _code(exc: BaseException) -> int:
    if isinstance(exc, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(exc, click.ClickException):
        return exc.exit_code
    return USAGE if isinstance(exc, WRONG_USAGE) else FAILED


def _usage(exc: click.ClickException) -> str:
    message = exc.format_message()
    message = message if message.endswith((".", "?", "!")) else f"{message}."
    context = getattr(exc, "ctx", None)
    return f"{message} See `{context.command_path} --help`." if context is not None else message


def _shown(exc: BaseException) -> Iterator[str]:
    """An exception with its traceback, without the frames of Drystone above the user's."""
    trace = _users(exc.__traceback__) or exc.__traceback__
    yield "".join(traceback.format_exception(type(exc), exc, trace)).rstrip()


def _users(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that starts in the user's own code, or None."""
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
        trace = trace.tb_next
    return trace


def _is_ours(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "click" or top.startswith("drystone") or top in sys.stdlib_module_names
