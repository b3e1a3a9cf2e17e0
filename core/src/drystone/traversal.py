"""The walk through the graph of one run: hand steps to the orchestrator, take in what comes back."""

from __future__ import annotations

import concurrent.futures
import heapq
import queue
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from drystone.announcements import Announcer
from drystone.cancellations import Watch
from drystone.dispatches import Attempt, Dispatch
from drystone.errors import DrystoneError, RunCancelledError, RunFailedError, RunLostError, message_of
from drystone.expansions import Expansion
from drystone.failures import Failure, failure_of, rebuilt
from drystone.flights import Flights
from drystone.frontiers import Frontier
from drystone.graphs import Node
from drystone.hits import Decision
from drystone.journals import Journal
from drystone.launches import Launcher, outcome
from drystone.preparation import Prepared
from drystone.runs import CACHED, CANCELLED, CRASHED, FAILED, SKIPPED, SUCCEEDED, Run, StepRun
from drystone.syncs import Syncs
from drystone.tasks import StepResult

GROUP = 0.1
"""Seconds that finished steps may wait to be committed together."""

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
        self.dispatch = Dispatch(prepared, self.journal, run, epoch)
        self.executed = 0
        self.repeated: set[str] = set()
        self.failure: tuple[str, BaseException] | None = None
        self._done = done
        self._stopping: str | None = None
        self._running: dict[Future[Any], Attempt] = {}
        self._ended: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._delayed: list[tuple[float, str, Attempt]] = []
        self._flights = Flights(prepared.workspace)
        self._frontier = Frontier(self.graph)
        self._ready = self._frontier.ready
        self._flushed_at = time.monotonic()
        self._syncs = Syncs(prepared.stack.artifact_store, self.journal.created)
        self._watch = Watch(prepared.workspace, run, epoch, lambda: self._ended.put(None), self.dispatch.tend)
        self._launcher = Launcher(prepared, self.dispatch, self._watch, run, is_resumed=epoch > 1)
        self._announcer = Announcer(prepared, run)
        self._maps: dict[str, Expansion] = {}

    def finish(self) -> Run:
        """Run to the end and return the record.

        Raises:
            RunFailedError: The run did not succeed.
            RunCancelledError: Somebody cancelled it from elsewhere.
            RunLostError: Somebody elsewhere took its driver for dead, and may have resumed it.
        """
        try:
            self._announcer.tell("drystone_run_started")
            with self._watch, self._launcher:
                self._walk()
        except RunLostError:
            raise
        except BaseException as exc:
            self._ended_early(exc)
            raise
        error = self.failure[0] if self.failure else None
        self.journal.finished(FAILED if self.failure else SUCCEEDED, self.executed, error, self.repeated)
        self._flush()
        self._syncs.sync(at_once=True)
        self.prepared.workspace.checkpoint()
        hook = self.options.on_failure if self.failure else self.options.on_success
        self._announcer.tell("drystone_run_finished", hook=hook)
        self.dispatch.clean()
        record = self.prepared.workspace.run(self.run)
        if self.failure is not None:
            raise RunFailedError(f"Run {self.run} failed: {error}", record) from self.failure[1]
        return record

    def _ended_early(self, exc: BaseException) -> None:
        """Record a run that was interrupted, cancelled or cannot go on.

        Raises:
            RunCancelledError: Somebody cancelled it from elsewhere.
            RunLostError: It is not this driver's any more.
        """
        if self._watch.lost is not None:
            raise self._watch.lost from None
        by = self._watch.requested_by
        if not isinstance(exc, KeyboardInterrupt):
            self._abandon(CRASHED, f"{type(exc).__name__}: {message_of(exc)}")
        elif by is None:
            self._abandon(CANCELLED, "interrupted")
        else:
            self._abandon(CANCELLED, f"cancelled by {by}")
            record = self.prepared.workspace.run(self.run)
            raise RunCancelledError(f"Run {self.run} was cancelled by {by}.", record) from None

    def _walk(self) -> None:
        try:
            while self._ready or self._running or self._delayed or self._flights.wait_for_others:
                self._ready.extend(self._flights.released())
                if self._ready and len(self._running) < WINDOW:
                    self._begin(self._ready.popleft())
                elif self._delayed and self._delayed[0][0] <= time.monotonic():
                    self._submit(heapq.heappop(self._delayed)[2])
                self._collect()
                self._watch.check()
        except BaseException:
            self._end_running(at_once=True)
            raise

    # A step begins

    def _begin(self, node: Node) -> None:
        """Skip a step, take its stored result, start it, or wait for the one that makes the same result."""
        if node.of is not None:
            self._begin_element(node)
            return
        status, reason = self._unneeded(node)
        if status:
            self.journal.unstarted(node, status, reason)
            self._completed(node, status)
            return
        hits, done = self.prepared.hits, self._done.get(node.name)
        decision = self._decided(node, lambda each: hits.decide(each, self.journal.manifests))
        if done is not None and done.key is not None and done.key == decision.key and hits.unusable(done) is None:
            self.journal.reused(node, done.outputs)
            self.executed += done.executed
            self._completed(node, done.status)
        elif decision.cached is not None:
            self.journal.cached(node, decision)
            self.repeated.add(decision.cached.run)
            self._completed(node, CACHED)
        elif self._flights.joined(node, decision):
            return
        elif node.mapped:
            self._expand(node, decision)
        elif self._claimed(node, decision):
            self._compute(node, decision)
        else:
            self._flights.wait(node, decision)

    def _decided(self, node: Node, decide: Callable[[Node], Decision]) -> Decision:
        """What is decided of a node, once what it may repeat is on record."""
        decision = decide(node)
        if not self._flights.is_uncommitted(decision) and not (decision.dynamic and self.journal.waiting):
            return decision
        self._flush()  # what other steps made can be found, and loaded, once it is committed
        return decide(node)

    def _expand(self, node: Node, decision: Decision) -> None:
        """Begin with the elements of a map."""
        try:
            expansion = self._maps[node.name] = Expansion(self.prepared, self.journal, node, decision)
        except DrystoneError as exc:
            self._gave_up(Attempt(node, decision), StepResult(), failure_of(exc), exc)
            return
        self._flights.begin(node, decision)
        self._ready.extend(expansion.following())
        if expansion.is_over:
            self._close(expansion)

    def _begin_element(self, element: Node) -> None:
        """Take the stored result of an element, start it, or wait for what makes the same; the next one follows."""
        expansion = self._maps[element.call]
        if self._stopping:
            self._cancel(element)
            return
        decision = self._decided(element, expansion.decide)
        is_done = expansion.takes_stored(element, decision)
        is_new = not is_done and not self._flights.joined(element, decision)
        if is_new and not expansion.is_begun:
            expansion.is_begun = self._claimed(expansion.node, expansion.decision, len(expansion))
        if is_new and not expansion.is_begun:
            expansion.overtaken()
            self._flights.wait(element, expansion.decision)
            return
        self._ready.extend(expansion.following())
        if is_new:
            self._compute(element, decision)
        elif is_done:
            self._element_ended(element)

    def _element_ended(self, element: Node) -> None:
        """Release what waited for an element; with the last one its map ends."""
        self._ready.extend(self._flights.land(element))
        expansion = self._maps.get(element.call)  # which may have ended while others were cancelled
        if expansion is not None and expansion.is_over:
            self._close(expansion)
        else:
            self._flush_if_due()

    def _close(self, expansion: Expansion) -> None:
        """Make the lists of a map of what its elements have made."""
        status = expansion.close(self._stopping or "")
        self.repeated |= expansion.repeated
        self.executed += expansion.kept_executed
        del self._maps[expansion.node.name]
        self._completed(expansion.node, status)

    def _unneeded(self, node: Node) -> tuple[str, str]:
        """The status of a step that is not to run, with the reason."""
        if self._stopping:
            return CANCELLED, self._stopping
        blocking = self._frontier.blocking(node)
        if blocking is not None:
            return SKIPPED, f"step {blocking!r}, which it depends on, was {self._frontier.statuses[blocking]}"
        if node.when is not None and not self.prepared.hits.holds(self.journal.manifests[node.when]):
            return SKIPPED, f"its condition, the output of {node.when.node!r}, is false"
        return "", ""

    def _claimed(self, node: Node, decision: Decision, elements: int | None = None) -> bool:
        """Whether a step has begun; else another run is making its result."""
        is_claimed = self.journal.claimed(node, decision, self.dispatch.where[node.name], elements)
        self._flushed()
        if is_claimed:
            self._announcer.tell("drystone_step_started", node.name)
        return is_claimed

    def _compute(self, node: Node, decision: Decision) -> None:
        self.executed += 1
        self._flights.begin(node, decision)
        self._start(Attempt(node, decision))

    def _submit(self, attempt: Attempt) -> None:
        """Start a further attempt."""
        node = attempt.node
        if node.of is None:
            self.journal.started(node, attempt.decision, attempt.number, self.dispatch.where[node.name])
            self._flush()
            self._announcer.tell("drystone_step_started", node.name)
        self._start(attempt)

    def _start(self, attempt: Attempt) -> None:
        future = self._launcher.start(attempt)
        self._running[future] = attempt
        future.add_done_callback(self._ended.put)

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

    def _take(self, attempt: Attempt, future: Future[Any]) -> None:
        self._launcher.forget(attempt)
        if future.cancelled() and self._stopping:
            self.executed -= 1
            self._cancel(attempt.node)
            return
        try:
            result, raised = outcome(future)
        except (Exception, concurrent.futures.CancelledError) as exc:
            kind, message = type(exc).__name__, message_of(exc)
            failure = Failure(type=kind, message=message, traceback=f"{kind}: {message}")
            self._failed(attempt, StepResult(log=self.dispatch.salvaged(attempt)), failure, exc)
            return
        if result.failure is not None:
            self._failed(attempt, result, result.failure, raised or rebuilt(result.failure))
            return
        self.dispatch.ended(attempt)
        self.journal.stored(result)
        self._told(attempt.node).succeeded(attempt.node, result, attempt.number)
        self._end(attempt.node, SUCCEEDED)

    def _failed(self, attempt: Attempt, result: StepResult, failure: Failure, exception: BaseException) -> None:
        node, error = attempt.node, f"{failure.type}: {failure.message}"
        retry = node.step.options.retries or self.options.retries
        if retry is not None and attempt.number <= retry.max and not self._stopping and retry.covers(exception):
            self._told(node).retried(node, result, attempt.number, error)
            due = time.monotonic() + retry.wait(attempt.number, random.random())
            again = Attempt(node, attempt.decision, attempt.number + 1)
            heapq.heappush(self._delayed, (due, again.task_id, again))
        else:
            self._gave_up(attempt, result, failure, exception)

    def _gave_up(self, attempt: Attempt, result: StepResult, failure: Failure, exception: BaseException) -> None:
        """A step, or an element of a map, failed for good."""
        node = attempt.node
        self._told(node).failed(node, result, attempt.number, failure.traceback)
        self.failure = self.failure or (f"step {node.name!r} raised {failure.type}: {failure.message}", exception)
        if self.options.on_error != "continue":
            self._stop(f"step {node.name!r} failed", at_once=self.options.on_error == "fail_fast")
        self._end(node, FAILED)

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
        self._told(node).unstarted(node, CANCELLED, self._stopping or "")
        self._end(node, CANCELLED)

    def _told(self, node: Node) -> Journal | Expansion:
        """Who is told how a node ended: of elements their map."""
        return self.journal if node.of is None else self._maps[node.call]

    def _end(self, node: Node, status: str) -> None:
        if node.of is None:
            self._completed(node, status)
        else:
            self._element_ended(node)

    def _completed(self, node: Node, status: str) -> None:
        """Note how a step ended, release what waited for it, and call hooks where somebody waits for that."""
        self._frontier.completed(node, status)
        self._ready.extend(self._flights.land(node))
        options = node.step.options
        hook = {SUCCEEDED: options.on_success, FAILED: options.on_failure}.get(status)
        if hook is not None or self._announcer.steps:
            self._flush()
            self._announcer.tell("drystone_step_finished", node.name, hook)
        else:
            self._flush_if_due()

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._flushed_at > GROUP:
            self._flush()

    def _flush(self) -> None:
        self.journal.flush()
        self._flushed()

    def _flushed(self) -> None:
        self._flights.committed()
        self._flushed_at = time.monotonic()
        self._syncs.sync()
        self._announcer.committed(self.journal.commits)
        for expansion in [each for each in self._maps.values() if each.is_begun]:
            self._announcer.progressed(expansion.node.name, expansion.progress)

    def _abandon(self, status: str, reason: str) -> None:
        """Record how things stand when the driver has to stop; what cannot be written is found by the next command."""
        for attempt in self._running.values():
            self._launcher.forget(attempt)
        with suppress(DrystoneError):
            self._flush()
        with suppress(DrystoneError):
            self.journal.abandoned(status, reason, self.dispatch.left())
            self._flush()
            self.dispatch.clean()
            self._announcer.tell("drystone_run_finished")
