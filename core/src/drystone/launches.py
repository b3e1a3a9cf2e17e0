"""Launches: tasks are run in the driver's own thread, or handed to the executor of the stack's orchestrator."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from drystone.cancellations import Watch
from drystone.digests import module_name
from drystone.dispatches import Attempt, Dispatch
from drystone.orchestrators import RunContext
from drystone.placements import INLINE
from drystone.preparation import Prepared
from drystone.serialization import structure, to_text, unstructure
from drystone.tasks import StepResult, StepTask
from drystone.workers import Answer, here, perform, run_task


class Launcher:
    """Runs the tasks of one run; while it is entered, the executor lives."""

    def __init__(self, prepared: Prepared, dispatch: Dispatch, watch: Watch, run: str) -> None:
        self._prepared = prepared
        self._dispatch = dispatch
        self._watch = watch
        self._run = run
        self._exits = ExitStack()
        self._executor: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, exc, traceback)

    def start(self, attempt: Attempt) -> Future[Any]:
        """Run an attempt, or have it run; `outcome` says how it ended."""
        task = self._dispatch.task(attempt)
        here[attempt.task_id] = (attempt.node.step, self._dispatch.answer)
        try:
            if self._dispatch.where[attempt.node.call] == INLINE:
                return self._run_inline(task)
            return self._workers().submit(run_task, to_text(unstructure(task)))
        except Exception as exc:
            future: Future[Any] = Future()
            future.set_exception(exc)
            return future
        except BaseException:
            self.forget(attempt)
            raise

    def forget(self, attempt: Attempt) -> None:
        """An attempt is over."""
        here.pop(attempt.task_id, None)

    def _run_inline(self, task: StepTask) -> Future[Any]:
        """Run a task now, in this thread; an interrupt such as Ctrl-C ends the run, and is no failure of the step."""
        future: Future[Any] = Future()
        self._watch.interruptible = threading.current_thread() is threading.main_thread()
        try:
            future.set_result(perform(task))
        finally:
            self._watch.interruptible = False
        return future

    def _workers(self) -> Executor:
        """What runs steps elsewhere; asked for when the first step needs it."""
        if self._executor is None:
            graph = self._prepared.graph
            modules = [module_name(node.step.fn.__module__) for node in graph.nodes.values()]
            context = RunContext(
                run=self._run,
                pipeline=graph.pipeline,
                stack=self._prepared.stack.name,
                steps=len(graph.nodes),
                modules=tuple(dict.fromkeys(modules)),
                root=self._prepared.root,
                answer=self._dispatch.answer,
            )
            self._executor = self._exits.enter_context(self._prepared.stack.orchestrator.executor(context))
        return self._executor


def outcome(future: Future[Any]) -> tuple[StepResult, BaseException | None]:
    """The result of a task, and what it raised if that could be brought along.

    Raises:
        Exception: Nobody ran it to its end.
    """
    answer = future.result()
    if isinstance(answer, tuple):  # of this very process
        return answer
    return structure(json.loads(answer), StepResult), answer.exception if isinstance(answer, Answer) else None
