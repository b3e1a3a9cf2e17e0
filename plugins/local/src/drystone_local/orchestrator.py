"""Runs steps on this machine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

import attrs

from drystone import Orchestrator, RunContext, StepNeeds
from drystone.errors import StackError

P = ParamSpec("P")
T = TypeVar("T")

INLINE = "inline"


def _check_isolation(instance: LocalOrchestrator, attribute: attrs.Attribute[str], value: str) -> None:
    if value != INLINE:
        raise StackError(f"LocalOrchestrator(isolation={value!r}): the only isolation it knows is {INLINE!r}.")


@attrs.frozen(kw_only=True)
class LocalOrchestrator(Orchestrator):
    """Runs every step in the driver's own process, one after the other.

    Attributes:
        isolation: `inline`, which is none.
    """

    isolation: str = attrs.field(default=INLINE, validator=_check_isolation)

    @property
    def capabilities(self) -> frozenset[str]:
        """None: nothing runs beside a step that could time it, limit it or go on."""
        return frozenset()

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Always."""
        return True

    def executor(self, run: RunContext) -> Executor:
        """An executor that runs each step when it is submitted."""
        return InlineExecutor()


class InlineExecutor(Executor):
    """Runs what is submitted at once, in the caller's thread; the futures it returns are done."""

    def __init__(self) -> None:
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function now.

        An interrupt such as Ctrl-C is the caller's, not the function's failure, and is raised here.
        """
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. There is none to wait for."""
        self._is_shut_down = True
