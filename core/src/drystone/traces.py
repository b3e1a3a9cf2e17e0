"""`DRYSTONE_TRACE=1`: every call of a plugin's hook, on stderr, with its time and without secrets."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from drystone.errors import message_of
from drystone.secrets import Secret

TRACE = "DRYSTONE_TRACE"
"""The environment variable that turns tracing on."""

SHOWN = 8
"""Members of a list that a line shows."""


def is_on() -> bool:
    """Whether calls are to be traced."""
    return os.environ.get(TRACE, "") not in ("", "0")


def traced(hook: str, label: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a plugin's function for a hook, and tell of it."""
    started = time.perf_counter()
    outcome = ""
    try:
        result = function(*arguments.values())
        outcome = _summary(result)
    except BaseException as exc:
        outcome = f"raised {type(exc).__name__}: {message_of(exc)}"
        raise
    finally:
        took = (time.perf_counter() - started) * 1000
        given = ", ".join(f"{name}={_summary(value)}" for name, value in arguments.items())
        with suppress(OSError, ValueError):  # nobody may read it any more
            sys.stderr.write(f"trace: {label}: {hook}({given}) → {outcome}, {took:.2f} ms\n")
    return result


def _summary(value: Any) -> str:
    """A value by its name and never by its content: records and settings may hold what is not for everybody."""
    if value is None or isinstance(value, Secret):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        return f"{{{_few([str(key) for key in value])}}}"
    if isinstance(value, list | tuple):
        return f"[{_few([_summary(each) for each in value[: SHOWN + 1]])}]"
    return f"{type(value).__name__}({' '.join(_names(value))})"


def _names(value: Any) -> Iterator[str]:
    for part in ("run", "model", "name", "version", "stage"):
        with suppress(Exception):  # what a plugin returned may raise whatever it likes
            found = getattr(value, part)
            if isinstance(found, str | int):
                yield str(found)


def _few(texts: list[str]) -> str:
    return ", ".join([*texts[:SHOWN], *(["…"] if len(texts) > SHOWN else [])])
