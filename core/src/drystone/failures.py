"""Failures of steps: an exception as text that can cross a process, and what can be made of that again."""

from __future__ import annotations

import builtins
import os
import sys
import traceback
from typing import Any

import attrs

from drystone.digests import module_name
from drystone.errors import StepFailedError, message_of

OWN = f"{os.path.dirname(__file__)}{os.sep}"
"""Where our own code is, which tracebacks leave out."""


@attrs.frozen(kw_only=True)
class Failure:
    """An exception as text.

    Attributes:
        type: The name of its class; `module` is where that is defined.
        may_retry: What the step's own `Retry(when=…)` says of it; None where the step says nothing.
    """

    type: str
    message: str
    traceback: str
    module: str = "builtins"
    may_retry: bool | None = None


def failure_of(exc: BaseException) -> Failure:
    """What was raised, with its traceback from the first frame that is not our own."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(OWN):
        frames = frames.tb_next
    shown = "".join(traceback.format_exception(type(exc), exc, frames, chain=frames is not None))
    message = f"exited with {exc.code!r:.200}" if isinstance(exc, SystemExit) else message_of(exc)
    kind = type(exc)
    return Failure(type=kind.__qualname__, message=message, traceback=shown, module=module_name(kind.__module__))


def rebuilt(failure: Failure) -> BaseException:
    """An exception of the class that was raised elsewhere, where making one runs no code; else a `StepFailedError`.

    Nothing is imported or unpickled: the class has to be loaded here, and to be made as built-in exceptions are.
    """
    found: Any = sys.modules.get(failure.module)
    for part in failure.type.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, Exception) and _is_plain(found)):
        return StepFailedError(failure.traceback)
    exception = found(failure.message)
    exception.add_note(f"In the process that ran the step:\n{failure.traceback}")
    return exception


PLAIN = [each for each in vars(builtins).values() if isinstance(each, type) and issubclass(each, Exception)]
"""Built-in exceptions."""

MAKERS = {
    getattr(each, name)
    for each in PLAIN
    for name in ("__init__", "__new__")
    if not issubclass(each, UnicodeError | ExceptionGroup)  # which take more than a text
}
"""What makes an exception of a text, without running any code of its class."""


def _is_plain(kind: type) -> bool:
    return {getattr(kind, name) for name in ("__init__", "__new__")} <= MAKERS
