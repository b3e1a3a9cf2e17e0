"""The walk through the graph of one run: hand steps to the orchestrator, take in what comes back."""

from __future__ import annotations

import concurrent.futures
import heapq
import json
import os
import queue
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import attrs

from drystone.blobs import blob_key
from drystone.components import ISOLATION, PARALLEL, RunContext
from drystone.digests import module_name
from drystone.errors import DrystoneError, LedgerConflict, RunFailedError, StepFailedError, message_of
from drystone.events import MetadataLogged
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef
from drystone.hits import Decision
from drystone.journals import Journal
from drystone.pipelines import Retry
from drystone.preparation import Prepared
from drystone.runs import CACHED, CANCELLED, COMPLETE, CRASHED, FAILED, SKIPPED, SUCCEEDED, Run, StepRun
from drystone.serialization import structure, to_text, unstructure
from drystone.values import class_name, dumps, to_json
from drystone.workers import Answer, OutputTask, StepResult, StepTask, here, run_task

GROUP = 0.1
"""Seconds that finished steps may wait to be committed together."""

SYNC_INTERVAL = 1.0
"""Seconds of new blobs that a power failure may take."""


@attrs.frozen(order=False)
class Attempt:
    """A step on its way: what was decided, how often it was tried, and the id of its task."""

    node: Node
    decision: Decision
    number: int = 1
    task_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)


class Walk:
    """Walks the graph of one run.

    Args:
        prepared: What to run, and where.
        run: Its name.
        epoch: How often it was started and claimed.
        done: The steps that it completed before it was resumed; they are kept if they are still valid.
    """

    def __init__(self, prepared: Prepared, run: str, epoch: int, done: Mapping[str, StepRun]) -> None:
        self.prepared = prepared
        self.graph = prepared.graph
        self.options = prepared.pipeline.options
        self.run = run
        self.journal = Journal(prepared, run, epoch)
        self.statuses: dict[str, str] = {}
        self.executed = 0
        self.repeated: set[str] = set()
        self.failure: tuple[str, BaseException] | None = None
        self._done = done
        self._stopping: str | None = None
        self._running: dict[Future[str], Attempt] = {}
        self._ended: queue.SimpleQueue[Future[str]] = queue.SimpleQueue()
        self._delayed: list[tuple[float, str, Attempt]] = []
        self._ready: deque[Node] = deque(node for node in self.graph.nodes.values() if not node.upstream)
        self._missing = {node.name: len(node.upstream) for node in self.graph.nodes.values()}
        self._dependents: dict[str, list[Node]] = {name: [] for name in self.graph.nodes}
        for before, after in self.graph.edges:
            self._dependents[before].append(self.graph.nodes[after])
        self._flushed_at = self._synced_at = time.monotonic()
        self._store = dumps(to_json(prepared.stack.artifact_store))
        self._is_listened_to = prepared.plugins.listens("drystone_step_started", "drystone_step_finished")
        can = prepared.stack.orchestrator.capabilities
        self._exclusive = PARALLEL not in can or ISOLATION in can

    def finish(self) -> Run:
        """Run to the end and return the record.

        Raises:
            RunFailedError: The run did not succeed.
        """
        context = RunContext(
            run=self.run, pipeline=self.graph.pipeline, stack=self.prepared.stack.name, steps=len(self.graph.nodes)
        )
        try:
            self._tell("drystone_run_started")
            with self.prepared.stack.orchestrator.executor(context) as executor:
                self._walk(executor)
        except LedgerConflict:
            raise
        except BaseException as exc:
            interrupted = isinstance(exc, KeyboardInterrupt)
            reason = "interrupted" if interrupted else f"{type(exc).__name__}: {message_of(exc)}"
            self._abandon(CANCELLED if interrupted else CRASHED, reason)
            raise
        error = self.failure[0] if self.failure else None
        self.journal.finished(FAILED if self.failure else SUCCEEDED, self.executed, error, self.repeated)
        self._flush()
        self._make_durable(at_once=True)
        self.prepared.workspace.checkpoint()
        hook = self.options.on_failure if self.failure else self.options.on_success
        self._tell("drystone_run_finished", hook=hook)
        record = self.prepared.workspace.run(self.run)
        if self.failure is not None:
            raise RunFailedError(f"Run {self.run} failed: {error}", record) from self.failure[1]
        return record

    def _make_durable(self, *, at_once: bool = False) -> None:
        """Flush new blobs each second, beside whatever comes next; the interpreter waits for that to be done."""
        if self.journal.created and (at_once or time.monotonic() - self._synced_at > SYNC_INTERVAL):
            keys = [blob_key(digest) for digest in dict.fromkeys(self.journal.created)]
            self.journal.created.clear()
            self._synced_at = time.monotonic()
            threading.Thread(target=self._sync, args=(keys,), name="drystone-sync").start()

    def _sync(self, keys: list[str]) -> None:
        with suppress(OSError):  # a blob that a power failure takes counts as lost, and is made anew
            self.prepared.stack.artifact_store.sync(keys)

    def _walk(self, executor: Executor) -> None:
        try:
            while self._ready or self._running or self._delayed:
                if self._ready:
                    self._begin(self._ready.popleft(), executor)
                elif self._delayed and self._delayed[0][0] <= time.monotonic():
                    self._submit(heapq.heappop(self._delayed)[2], executor)
                self._collect()
        except BaseException:
            for future in self._running:
                future.cancel()
            raise

    # A step begins

    def _begin(self, node: Node, executor: Executor) -> None:
        """Skip a step, take its stored result, or start it."""
        status, reason = self._unneeded(node)
        if status:
            self.journal.unstarted(node, status, reason)
            self._completed(node, status)
            return
        hits, done = self.prepared.hits, self._done.get(node.name)
        decision = hits.decide(node, self.journal.manifests)
        if done is not None and done.key is not None and done.key == decision.key and hits.unusable(done) is None:
            self.journal.reused(node, done.outputs)
            self.executed += done.status == SUCCEEDED
            self._completed(node, done.status)
        elif decision.cached is not None:
            self.journal.cached(node, decision)
            self.repeated.add(decision.cached.run)
            self._completed(node, CACHED)
        else:
            self.executed += 1
            self._submit(Attempt(node, decision), executor)

    def _unneeded(self, node: Node) -> tuple[str, str]:
        """The status of a step that is not to run, with the reason."""
        if self._stopping:
            return CANCELLED, self._stopping
        blocked = next((name for name in node.upstream if self.statuses[name] not in COMPLETE), None)
        if blocked is not None:
            return SKIPPED, f"step {blocked!r}, which it depends on, was {self.statuses[blocked]}"
        if node.when is not None and not self.prepared.hits.holds(self.journal.manifests[node.when]):
            return SKIPPED, f"its condition, the output of {node.when.node!r}, is false"
        return "", ""

    def _submit(self, attempt: Attempt, executor: Executor) -> None:
        self.journal.started(attempt.node, attempt.decision, attempt.number)
        self._flush()
        self._tell("drystone_step_started", attempt.node.name)
        here[attempt.task_id] = attempt.node.step
        try:
            future = executor.submit(run_task, to_text(unstructure(self._task(attempt))))
        except Exception as exc:
            future = Future()
            future.set_exception(exc)
        except BaseException:
            here.pop(attempt.task_id, None)
            raise
        self._running[future] = attempt
        future.add_done_callback(self._ended.put)

    def _task(self, attempt: Attempt) -> StepTask:
        node = attempt.node
        function = node.step.fn
        return StepTask(
            id=attempt.task_id,
            run=self.run,
            pipeline=self.graph.pipeline,
            step=node.name,
            attempt=attempt.number,
            code=f"{module_name(function.__module__)}:{function.__qualname__}",
            inputs={name: self._input(binding) for name, binding in node.bindings.items()},
            outputs=tuple(
                OutputTask(output=output.name, name=name, artifact=output.artifact)
                for output, name in zip(node.step.outputs, self.prepared.names[node.name], strict=True)
            ),
            parameters=self.prepared.parameters,
            model_version=self.journal.model_version,
            store=self._store,
            allow_pickle=self.prepared.workspace.materializers.allow_pickle,
            exclusive=self._exclusive,
            pid=os.getpid(),
        )

    def _input(self, binding: Binding) -> dict[str, Any]:
        if isinstance(binding, OutputRef):
            return {"artifact": unstructure(self.journal.manifests[binding])}
        if isinstance(binding, Lookup):
            return {"artifact": unstructure(self.prepared.found[binding.reference].manifest)}
        if isinstance(binding, Items):
            items = [self._input(item) for item in binding.items]
            return {
                "items": items,
                "kind": class_name(binding.container),
                "keys": [to_json(key) for key in binding.keys],
            }
        return {"value": to_json(binding.value)}

    # A step ends

    def _collect(self) -> None:
        """Take in the results that are there; where nothing can begin, wait for one, or for a retry that is due.

        What is to be committed waits no longer than `GROUP`.
        """
        pause = 0.0 if self._ready else GROUP if self.journal.waiting else None
        if self._delayed:
            due = max(0.0, self._delayed[0][0] - time.monotonic())
            pause = due if pause is None else min(pause, due)
        elif not self._running:
            return
        try:
            while True:
                future = self._ended.get(timeout=pause)
                self._take(self._running.pop(future), future)
                pause = 0.0
        except queue.Empty:
            if pause:
                self._flush()

    def _take(self, attempt: Attempt, future: Future[str]) -> None:
        here.pop(attempt.task_id, None)
        if future.cancelled() and self._stopping:
            self.executed -= 1
            self._cancel(attempt.node)
            return
        try:
            answer = future.result()
            result = structure(json.loads(answer), StepResult)
        except (Exception, concurrent.futures.CancelledError) as exc:
            self._failed(attempt, StepResult(), f"{type(exc).__name__}: {message_of(exc)}", exc)
            return
        if result.failure is not None:
            raised = answer.exception if isinstance(answer, Answer) else None
            error = f"{result.failure.type}: {result.failure.message}"
            self._failed(attempt, result, error, raised or StepFailedError(result.failure.traceback))
            return
        self.journal.succeeded(attempt.node, result, attempt.number)
        self._completed(attempt.node, SUCCEEDED)

    def _failed(self, attempt: Attempt, result: StepResult, error: str, exception: BaseException) -> None:
        node = attempt.node
        retry: Retry | None = node.step.options.retries or self.options.retries
        if retry is not None and attempt.number <= retry.max and not self._stopping:
            due = time.monotonic() + retry.wait(attempt.number, random.random())
            again = Attempt(node, attempt.decision, attempt.number + 1)
            heapq.heappush(self._delayed, (due, again.task_id, again))
            return
        shown = result.failure.traceback if result.failure is not None else error
        self.journal.failed(node, result, attempt.number, shown)
        self.failure = self.failure or (f"step {node.name!r} raised {error}", exception)
        if self.options.on_error != "continue":
            self._stop(f"step {node.name!r} failed")
        self._completed(node, FAILED)

    def _stop(self, reason: str) -> None:
        """Start nothing more: neither what waits for its turn in the executor nor what waits to be tried again."""
        self._stopping = reason
        for future in list(self._running):
            future.cancel()
        for _, _, attempt in self._delayed:
            self._cancel(attempt.node)
        self._delayed.clear()

    def _cancel(self, node: Node) -> None:
        self.journal.unstarted(node, CANCELLED, self._stopping or "")
        self._completed(node, CANCELLED)

    def _completed(self, node: Node, status: str) -> None:
        """Note how a step ended, release what waited for it, and call hooks where somebody waits for that."""
        self.statuses[node.name] = status
        for dependent in self._dependents[node.name]:
            self._missing[dependent.name] -= 1
            if self._missing[dependent.name] == 0:
                self._ready.append(dependent)
        options = node.step.options
        hook = {SUCCEEDED: options.on_success, FAILED: options.on_failure}.get(status)
        if hook is not None or self._is_listened_to:
            self._flush()
            self._tell("drystone_step_finished", node.name, hook)
        elif time.monotonic() - self._flushed_at > GROUP:
            self._flush()

    def _tell(self, event: str, step: str | None = None, hook: Callable[[Any], object] | None = None) -> None:
        """Call a hook, and the plugins that listen to an event; their errors are noted and change nothing."""
        workspace, plugins = self.prepared.workspace, self.prepared.plugins
        if hook is None and not plugins.listens(event):
            return
        with workspace.reading() as records:
            record: Any = records.found_run(self.run) if step is None else records.found_step(self.run, step)
        errors = []
        try:
            if hook is not None:
                hook(record)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            errors.append(f"{getattr(hook, '__qualname__', hook)}: {type(exc).__name__}: {message_of(exc)}")
        errors += plugins.emit(event, **{"run" if step is None else "step_run": record})
        if errors:
            before = workspace.run(self.run).metadata.get("hook_errors", [])
            noted = MetadataLogged(kind="run", record=self.run, values={"hook_errors": [*before, *errors]})
            workspace.commit(lambda view: [noted])

    def _flush(self) -> None:
        self.journal.flush()
        self._flushed_at = time.monotonic()
        self._make_durable()

    def _abandon(self, status: str, reason: str) -> None:
        """Record how things stand when the driver has to stop; what cannot be written is found by the next command."""
        for attempt in self._running.values():
            here.pop(attempt.task_id, None)
        with suppress(DrystoneError):
            self._flush()
        with suppress(DrystoneError):
            self.journal.abandoned(status, reason)
            self._flush()
