"""Launches: tasks are run in the driver's own thread, or handed to the orchestrator that their steps are for."""

from __future__ import annotations

import functools
import json
import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import attrs

from drystone.bindings import leaves as bound
from drystone.bundles import ship
from drystone.cancellations import Watch
from drystone.components import leaves
from drystone.digests import module_name
from drystone.dispatches import Attempt, Dispatch
from drystone.errors import PlanError
from drystone.fingerprints import PYTHON
from drystone.graphs import Node, Value
from drystone.installations import DISABLE
from drystone.jobs import Jobs, Leftovers
from drystone.orchestrators import Orchestrator, RunContext, thread_variables
from drystone.placements import INLINE, orchestrator_for
from drystone.preparation import Prepared
from drystone.secrets import Secret
from drystone.serialization import structure, to_text, unstructure
from drystone.tasks import Answer, StepResult, StepTask
from drystone.workers import STORE, here, perform, run_task


class Launcher:
    """Runs the tasks of one run; while it is entered, the executors live.

    Args:
        prepared: What is run, and where.
        dispatch: Makes the tasks.
        watch: Interrupts what this thread computes.
        run: The run's name.
        is_resumed: Whether an earlier driver may have left something of it.
    """

    def __init__(
        self, prepared: Prepared, dispatch: Dispatch, watch: Watch, run: str, *, is_resumed: bool = False
    ) -> None:
        self._prepared = prepared
        self._dispatch = dispatch
        self._watch = watch
        self._run = run
        self._is_resumed = is_resumed
        self._exits = ExitStack()
        self._executors: dict[str, Executor] = {}
        self._jobs: dict[str, Jobs] = {}
        self._leftovers: Leftovers | None = None

    def __enter__(self) -> Self:
        launching = [each for each in self._prepared.orchestrators.values() if each.launches]
        if self._is_resumed and launching:
            store = self._prepared.stack.artifact_store
            self._leftovers = Leftovers(store, self._dispatch.folder, launching)
            self._exits.callback(self._leftovers.end)
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
            name, orchestrator = orchestrator_for(attempt.node, self._prepared.stack)
            if orchestrator.launches:
                return self._launched(attempt, task, self._jobs_of(name, orchestrator))
            return self._workers(name, orchestrator).submit(run_task, to_text(unstructure(task)))
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

    def _workers(self, name: str, orchestrator: Orchestrator) -> Executor:
        """What runs Python functions elsewhere; asked for when the first step needs it."""
        if name not in self._executors:
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
            self._executors[name] = self._exits.enter_context(orchestrator.executor(context))
        return self._executors[name]

    # Jobs

    def _jobs_of(self, name: str, orchestrator: Orchestrator) -> Jobs:
        if name not in self._jobs:
            jobs = Jobs(orchestrator, self._prepared.stack.artifact_store, self._dispatch.kept)
            self._jobs[name] = self._exits.enter_context(jobs)
        return self._jobs[name]

    def _launched(self, attempt: Attempt, task: StepTask, jobs: Jobs) -> Future[str]:
        """Launch the job of an attempt, or go on with one that does the same and was left behind."""
        task = attrs.evolve(task, bundle=self._bundle, closure=self._code(attempt))
        found = self._leftovers.taken(task) if self._leftovers is not None else None
        given = self._environment(task), self._secrets(attempt.node)
        if found is None:
            return jobs.start(task, *given)
        before, left = found
        if not isinstance(left, StepResult):
            return jobs.adopt(task, *given, attrs.evolve(before, log=task.log), left)
        future: Future[str] = Future()
        future.set_result(to_text(unstructure(attrs.evolve(left, log=self._dispatch.kept(before)))))
        return future

    @functools.cached_property
    def _bundle(self) -> str:
        """The project's code, in the artifact store.

        Raises:
            PlanError: It is not what was planned any more.
        """
        edited = self._prepared.hits.fingerprints.changed()
        if edited:
            raise PlanError(f"Edited while the run was planned: {', '.join(edited)}. Run the pipeline again.")
        return ship(self._prepared.root, self._prepared.stack.artifact_store)

    def _code(self, attempt: Attempt) -> str | None:
        """Digest of the code that a worker elsewhere must find, where its Python can tell."""
        closure = attempt.decision.closure
        return closure.code if closure.digest is not None and closure.python == PYTHON else None

    def _environment(self, task: StepTask) -> dict[str, str]:
        """The variables that a job needs."""
        cpus = (task.resources or {}).get("cpus")
        return {
            "DRYSTONE_RUN": task.run,
            "DRYSTONE_PIPELINE": task.pipeline,
            "DRYSTONE_STEP": task.step,
            "DRYSTONE_ATTEMPT": str(task.attempt),
            STORE: task.store,
            **({DISABLE: os.environ[DISABLE]} if DISABLE in os.environ else {}),
            **(thread_variables(math.ceil(cpus)) if cpus else {}),
        }

    def _secrets(self, node: Node) -> dict[str, str]:
        """The secrets that a step needs, by reference.

        Raises:
            StackError: One is not there.
        """
        return {secret.reference: secret.resolve() for secret in self._references(node)}

    def _references(self, node: Node) -> Iterator[Secret]:
        components = self._prepared.stack.components
        used = [components[kind] for kind in node.step.options.uses]
        arguments = (leaf for binding in node.bindings.values() for leaf in bound(binding))
        values = [leaf.value for leaf in arguments if isinstance(leaf, Value)]
        for holder in (self._prepared.stack.artifact_store, *used, *values):
            yield from (value for _, value in leaves(holder) if isinstance(value, Secret))


def outcome(future: Future[Any]) -> tuple[StepResult, BaseException | None]:
    """The result of a task, and what it raised if that could be brought along.

    Raises:
        Exception: Nobody ran it to its end.
    """
    answer = future.result()
    if isinstance(answer, tuple):  # of this very process
        return answer
    return structure(json.loads(answer), StepResult), answer.exception if isinstance(answer, Answer) else None
