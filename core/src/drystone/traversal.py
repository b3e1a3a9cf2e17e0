"""The walk through the graph of one run: hand steps to the orchestrator, take in what comes back."""

from __future__ import annotations

import concurrent.futures
import heapq
import json
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from typing import Any

from drystone.blobs import blob_key
from drystone.cancellations import Watch
from drystone.components import RunContext
from drystone.digests import module_name
from drystone.dispatches import Attempt, Dispatch
from drystone.errors import DrystoneError, LedgerConflict, RunCancelledError, RunFailedError, message_of
from drystone.events import MetadataLogged
from drystone.failures import Failure, rebuilt
from drystone.flights import Flights
from drystone.graphs import Node
from drystone.hits import Decision
from drystone.journals import Journal
from drystone.placements import INLINE
from drystone.preparation import Prepared
from drystone.runs import CACHED, CANCELLED, COMPLETE, CRASHED, FAILED, SKIPPED, SUCCEEDED, Run, StepRun
from drystone.serialization import structure
from drystone.tasks import StepResult
from drystone.workers import Answer, here, run_task

GROUP = 0.1
"""Seconds that finished steps may wait to be committed together."""

SYNC_INTERVAL = 1.0
"""Seconds of new blobs that a power failure may take."""

WINDOW = 256
"""So many tasks are with the orchestrator at most; what is ready beyond them waits here."""


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
        self.dispatch = Dispatch(prepared, self.journal, run)
        self.statuses: dict[str, str] = {}
        self.executed = 0
        self.repeated: set[str] = set()
        self.failure: tuple[str, BaseException] | None = None
        self._done = done
        self._stopping: str | None = None
        self._executor: Executor | None = None
        self._running: dict[Future[str], Attempt] = {}
        self._ended: queue.SimpleQueue[Future[str] | None] = queue.SimpleQueue()
        self._delayed: list[tuple[float, str, Attempt]] = []
        self._flights = Flights(prepared.workspace)
        self._ready: deque[Node] = deque(node for node in self.graph.nodes.values() if not node.upstream)
        self._missing = {node.name: len(node.upstream) for node in self.graph.nodes.values()}
        self._dependents: dict[str, list[Node]] = {name: [] for name in self.graph.nodes}
        for before, after in self.graph.edges:
            self._dependents[before].append(self.graph.nodes[after])
        self._flushed_at = self._synced_at = time.monotonic()
        self._watch = Watch(prepared.workspace, run, lambda: self._ended.put(None))
        self._is_listened_to = prepared.plugins.listens("drystone_step_started", "drystone_step_finished")

    def finish(self) -> Run:
        """Run to the end and return the record.

        Raises:
            RunFailedError: The run did not succeed.
            RunCancelledError: Somebody cancelled it from elsewhere.
        """
        try:
            self._tell("drystone_run_started")
            with self._watch, ExitStack() as stack:
                self._walk(stack)
        except LedgerConflict:
            raise
        except BaseException as exc:
            self._ended_early(exc)
            raise
        error = self.failure[0] if self.failure else None
        self.journal.finished(FAILED if self.failure else SUCCEEDED, self.executed, error, self.repeated)
        self._flush()
        self._make_durable(at_once=True)
        self.prepared.workspace.checkpoint()
        hook = self.options.on_failure if self.failure else self.options.on_success
        self._tell("drystone_run_finished", hook=hook)
        self.dispatch.clean()
        record = self.prepared.workspace.run(self.run)
        if self.failure is not None:
            raise RunFailedError(f"Run {self.run} failed: {error}", record) from self.failure[1]
        return record

    def _ended_early(self, exc: BaseException) -> None:
        """Record a run that was interrupted, cancelled or cannot go on.

        Raises:
            RunCancelledError: Somebody cancelled it from elsewhere.
        """
        by = self._watch.requested_by
        if not isinstance(exc, KeyboardInterrupt):
            self._abandon(CRASHED, f"{type(exc).__name__}: {message_of(exc)}")
        elif by is None:
            self._abandon(CANCELLED, "interrupted")
        else:
            self._abandon(CANCELLED, f"cancelled by {by}")
            record = self.prepared.workspace.run(self.run)
            raise RunCancelledError(f"Run {self.run} was cancelled by {by}.", record) from None

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

    def _walk(self, stack: ExitStack) -> None:
        try:
            while self._ready or self._running or self._delayed or self._flights.wait_for_others:
                self._ready.extend(self._flights.released())
                if self._ready and len(self._running) < WINDOW:
                    self._begin(self._ready.popleft(), stack)
                elif self._delayed and self._delayed[0][0] <= time.monotonic():
                    self._submit(heapq.heappop(self._delayed)[2], stack)
                self._collect()
                if self._watch.requested_by is not None:
                    raise KeyboardInterrupt
        except BaseException:
            self._end_running(at_once=True)
            raise

    # A step begins

    def _begin(self, node: Node, stack: ExitStack) -> None:
        """Skip a step, take its stored result, start it, or wait for the one that makes the same result."""
        status, reason = self._unneeded(node)
        if status:
            self.journal.unstarted(node, status, reason)
            self._completed(node, status)
            return
        hits, done = self.prepared.hits, self._done.get(node.name)
        decision = hits.decide(node, self.journal.manifests)
        if self._flights.is_uncommitted(decision) or (decision.dynamic and self.journal.waiting):
            self._flush()  # what other steps made can be found, and loaded, once it is committed
            decision = hits.decide(node, self.journal.manifests)
        if done is not None and done.key is not None and done.key == decision.key and hits.unusable(done) is None:
            self.journal.reused(node, done.outputs)
            self.executed += done.status == SUCCEEDED
            self._completed(node, done.status)
        elif decision.cached is not None:
            self.journal.cached(node, decision)
            self.repeated.add(decision.cached.run)
            self._completed(node, CACHED)
        elif not self._flights.joined(node, decision):
            self._claim(node, decision, stack)

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

    def _claim(self, node: Node, decision: Decision, stack: ExitStack) -> None:
        """Start a step, unless another run is making its result; then look again later."""
        is_claimed = self.journal.claimed(node, decision, self.dispatch.where[node.name])
        self._flushed()
        if is_claimed:
            self.executed += 1
            self._flights.begin(node, decision)
            self._start(Attempt(node, decision), stack)
        else:
            self._flights.wait(node, decision)

    def _submit(self, attempt: Attempt, stack: ExitStack) -> None:
        """Start a further attempt."""
        self.journal.started(attempt.node, attempt.decision, attempt.number, self.dispatch.where[attempt.node.name])
        self._flush()
        self._start(attempt, stack)

    def _start(self, attempt: Attempt, stack: ExitStack) -> None:
        self._tell("drystone_step_started", attempt.node.name)
        text = self.dispatch.task(attempt)
        here[attempt.task_id] = (attempt.node.step, self.dispatch.answer)
        try:
            if self.dispatch.where[attempt.node.name] == INLINE:
                future = self._run_inline(text)
            else:
                future = self._workers(stack).submit(run_task, text)
        except Exception as exc:
            future = Future()
            future.set_exception(exc)
        except BaseException:
            here.pop(attempt.task_id, None)
            raise
        self._running[future] = attempt
        future.add_done_callback(self._ended.put)

    def _run_inline(self, text: str) -> Future[str]:
        """Run a task now, in this thread; an interrupt such as Ctrl-C ends the run, and is no failure of the step."""
        future: Future[str] = Future()
        self._watch.interruptible = threading.current_thread() is threading.main_thread()
        try:
            future.set_result(run_task(text))
        finally:
            self._watch.interruptible = False
        return future

    def _workers(self, stack: ExitStack) -> Executor:
        """What runs steps elsewhere; asked for when the first step needs it."""
        if self._executor is None:
            modules = [module_name(node.step.fn.__module__) for node in self.graph.nodes.values()]
            context = RunContext(
                run=self.run,
                pipeline=self.graph.pipeline,
                stack=self.prepared.stack.name,
                steps=len(self.graph.nodes),
                modules=tuple(dict.fromkeys(modules)),
                root=self.prepared.root,
                answer=self.dispatch.answer,
            )
            self._executor = stack.enter_context(self.prepared.stack.orchestrator.executor(context))
        return self._executor

    # A step ends

    def _collect(self) -> None:
        """Take in the results that are there; where nothing can begin, wait for one, or for a retry that is due.

        What is to be committed waits no longer than `GROUP`.
        """
        can_begin = self._ready and len(self._running) < WINDOW
        watched = self._flights.wait_for_others or (self._running and self.dispatch.may_be_asked)
        pause = 0.0 if can_begin else max(0.0, GROUP) if self.journal.waiting or watched else None
        if self._running and self.dispatch.may_be_asked:
            self.dispatch.answer_asked()
        if self._delayed:
            due = max(0.0, self._delayed[0][0] - time.monotonic())
            pause = due if pause is None else min(pause, due)
        elif not (self._running or watched):
            return
        try:
            while True:
                future = self._ended.get(timeout=pause)
                if future is None:  # somebody wants the run to be cancelled
                    return
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
            kind, message = type(exc).__name__, message_of(exc)
            failure = Failure(type=kind, message=message, traceback=f"{kind}: {message}")
            self._failed(attempt, StepResult(log=self.dispatch.salvaged(attempt)), failure, exc)
            return
        if result.failure is not None:
            raised = answer.exception if isinstance(answer, Answer) else None
            self._failed(attempt, result, result.failure, raised or rebuilt(result.failure))
            return
        self.dispatch.ended(attempt)
        self.journal.succeeded(attempt.node, result, attempt.number)
        self._completed(attempt.node, SUCCEEDED)

    def _failed(self, attempt: Attempt, result: StepResult, failure: Failure, exception: BaseException) -> None:
        node, error = attempt.node, f"{failure.type}: {failure.message}"
        retry = node.step.options.retries or self.options.retries
        if retry is not None and attempt.number <= retry.max and not self._stopping and retry.covers(exception):
            self.journal.retried(node, result, attempt.number, error)
            due = time.monotonic() + retry.wait(attempt.number, random.random())
            again = Attempt(node, attempt.decision, attempt.number + 1)
            heapq.heappush(self._delayed, (due, again.task_id, again))
            return
        self.journal.failed(node, result, attempt.number, failure.traceback)
        self.failure = self.failure or (f"step {node.name!r} raised {error}", exception)
        if self.options.on_error != "continue":
            self._stop(f"step {node.name!r} failed", at_once=self.options.on_error == "fail_fast")
        self._completed(node, FAILED)

    def _stop(self, reason: str, *, at_once: bool) -> None:
        """Start nothing more: neither what waits for its turn nor what waits to be tried again."""
        self._stopping = reason
        self._end_running(at_once=at_once)
        for _, _, attempt in self._delayed:
            self._cancel(attempt.node)
        self._delayed.clear()
        self._ready.extend(self._flights.released(all_of_them=True))

    def _end_running(self, *, at_once: bool) -> None:
        """Take back what the orchestrator has not begun; at once, what it is running as well, where it can do that."""
        for future in list(self._running):
            if at_once or not future.running():
                future.cancel()

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
        self._ready.extend(self._flights.land(node))
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
        self._flushed()

    def _flushed(self) -> None:
        self._flights.committed()
        self._flushed_at = time.monotonic()
        self._make_durable()

    def _abandon(self, status: str, reason: str) -> None:
        """Record how things stand when the driver has to stop; what cannot be written is found by the next command."""
        for attempt in self._running.values():
            here.pop(attempt.task_id, None)
        with suppress(DrystoneError):
            self._flush()
        with suppress(DrystoneError):
            self.journal.abandoned(status, reason, self.dispatch.left())
            self._flush()
            self.dispatch.clean()
            self._tell("drystone_run_finished")
