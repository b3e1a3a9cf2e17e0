"""One step on its way through the pool, and the errors it can end in besides its own."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from drystone.errors import DrystoneError, MemoryLimitError, StepFailedError, StepTimeoutError, WorkerDiedError
from drystone_local.machines import Machine

logger = logging.getLogger(__name__)

HELPERS = ("multiprocessing", "loky")
"""In the command lines of processes that libraries keep for their next call; nobody need be told of their end."""

NEEDS = ("cpus", "memory", "gpus")


class Task(Future[str]):
    """The future of one step.

    Args:
        function: `module:function`, what a worker calls.
        text: The JSON object that it is called with.
        machine: What there is; a step that asks for more gets all of it.
        stop: Ends a task that is running; answers whether it was.
    """

    def __init__(self, function: str, text: str, machine: Machine, stop: Callable[[Task], bool]) -> None:
        super().__init__()
        said = json.loads(text)
        self.function, self.text = function, text
        self.name: str = said.get("step") or function
        self.timeout: float | None = said.get("timeout")
        self.log: str | None = said.get("log")
        needs: dict[str, Any] = said.get("resources") or {}
        self.limit: int | None = needs.get("memory")
        self.threads = min(machine.cpus, math.ceil(needs["cpus"])) if needs.get("cpus") else None
        self.needs = {name: min(needs.get(name) or 0, getattr(machine, name)) for name in NEEDS}
        self.is_demanding = any(self.needs.values())
        self.submitted = time.monotonic()
        self._stop = stop
        self._was_cancelled = False

    @property
    def is_watched(self) -> bool:
        """Whether it has a limit of its own."""
        return self.timeout is not None or self.limit is not None

    @property
    def message(self) -> bytes:
        """What a worker is sent."""
        return f"{self.function}\n{self.text}".encode()

    def cancel(self) -> bool:
        """Cancel it; if it is running, its worker is killed, and it is done once that is dead."""
        return super().cancel() or self._stop(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled, before it ran or while it ran."""
        return super().cancelled() or self._was_cancelled

    def settle(self, outcome: str | BaseException) -> None:
        """End it, with its result or an error."""
        if super().cancelled() or (not self.running() and not self.set_running_or_notify_cancel()):
            return
        self._was_cancelled = isinstance(outcome, CancelledError)
        if isinstance(outcome, BaseException):
            self.set_exception(outcome)
        else:
            self.set_result(outcome)


def timed_out(task: Task) -> DrystoneError:
    """It ran too long."""
    return StepTimeoutError(
        f"Step {task.name!r} took longer than its timeout of {task.timeout:g} s. It was ended, with everything it had "
        "started."
    )


def over_limit(task: Task, used: int) -> DrystoneError:
    """It took too much memory."""
    return MemoryLimitError(
        f"Step {task.name!r} used {amount(used)} of memory; its limit is {amount(task.limit or 0)}. It was ended, with "
        'everything it had started. Give it more with resources=Resources(memory="…"), or let it use less.'
    )


def died(task: Task, code: int) -> DrystoneError:
    """Its worker ended without an answer."""
    return WorkerDiedError.of(f"The process that ran step {task.name!r}", code)


def unstarted(task: Task, reason: str) -> DrystoneError:
    """No worker could be had, or all were lost at once."""
    what = "The process that ran" if task.running() else "No process could be started for"
    return WorkerDiedError(f"{what} step {task.name!r}{' was ended' if task.running() else ''}: {reason}.")


def raised(trace: str) -> DrystoneError:
    """The function itself raised, which is no failure of the step's code alone; the text is all that crosses."""
    return StepFailedError(trace)


def warn(task: Task, left: list[str]) -> None:
    """Tell of processes that a step left behind, by their command lines."""
    told = [each or "one that gives no name" for each in left if not any(helper in each for helper in HELPERS)]
    if told:
        logger.warning(
            "Step %r left %d running behind, which had to be ended: %s. What a step starts, it should wait for.",
            task.name,
            len(told),
            ", ".join(told),
        )


def amount(size: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"
