"""The walk through the graph of one run: hand steps to the orchestrator, take in what comes back."""

from __future__ import annotations

import concurrent.futures
import contextlib
import heapq
import json
import os
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import attrs

from drystone.artifacts import Artifact, ArtifactVersion
from drystone.blobs import blob_key
from drystone.components import ISOLATION, PARALLEL, RunContext
from drystone.digests import module_name
from drystone.errors import DrystoneError, RunFailedError, StepFailedError
from drystone.events import MetadataLogged
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef
from drystone.pipelines import Retry
from drystone.planning import Decision
from drystone.preparation import Prepared, journal_of, shown_parameter
from drystone.runs import CACHED, CANCELLED, COMPLETE, CRASHED, FAILED, SKIPPED, SUCCEEDED, Run
from drystone.serialization import structure, to_text, unstructure
from drystone.values import dumps, to_json
from drystone.workers import Answer, OutputTask, StepResult, StepTask, here, run_task

GROUP = 0.1
"""Seconds that finished steps may wait to be committed together."""


@attrs.define
class Attempt:
    """A step on its way: what was decided, how often it was tried, and its future."""

    node: Node
    decision: Decision
    number: int
    task_id: str = ""


class Walk:
    """Walks the graph of one run."""

    def __init__(
        self,
        prepared: Prepared,
        run: str,
        epoch: int,
        done: Mapping[str, tuple[str | None, Mapping[str, ArtifactVersion], str]],
    ) -> None:
        self.prepared = prepared
        self.setting = prepared.setting
        self.graph = prepared.graph
        self.run = run
        self.done_before = done
        self.journal = journal_of(prepared, run, epoch)
        self.statuses: dict[str, str] = {}
        self.running: dict[Future[str], Attempt] = {}
        self.delayed: list[tuple[float, int, Attempt]] = []
        self.ready: deque[Node] = deque()
        self.missing = {node.name: len(node.upstream) for node in self.graph.nodes.values()}
        self.dependents: dict[str, list[Node]] = {name: [] for name in self.graph.nodes}
        for node in self.graph.nodes.values():
            for before in node.upstream:
                self.dependents[before].append(node)
        self.digests: dict[OutputRef, str] = {}
        self.executed = 0
        self.repeated: str | None = None
        self.failure: tuple[str, BaseException | None] | None = None
        self.stopping: str | None = None
        self.flushed_at = time.monotonic()
        self.store_text = dumps(to_json(self.setting.stack.artifact_store))
        self.listened = self.setting.plugins.listens("drystone_step_started", "drystone_step_finished")
        can = self.setting.stack.orchestrator.capabilities
        self.exclusive = PARALLEL not in can or ISOLATION in can

    def finish(self) -> Run:
        """Run to the end and return the record.

        Raises:
            RunFailedError: The run did not succeed.
        """
        workspace = self.setting.workspace
        self._emit("drystone_run_started", run=True)
        try:
            with self._executor() as executor:
                self._walk(executor)
        except KeyboardInterrupt:
            self._abandon(CANCELLED, "interrupted")
            raise
        except DrystoneError as exc:
            self._abandon(CRASHED, f"the driver stopped: {exc}")
            raise
        status = FAILED if self.failure else SUCCEEDED
        self.journal.finished(status, self.executed, self.failure[0] if self.failure else None, self.repeated)
        self._flush()
        threading.Thread(target=self._make_durable, name="drystone-sync").start()
        workspace.checkpoint()
        record = self._after(workspace.run(self.run))
        if self.failure is not None:
            raise RunFailedError(f"Run {self.run} failed: {self.failure[0]}", record) from self.failure[1]
        return record

    def _make_durable(self) -> None:
        """Flush the new blobs beside whatever comes next; the interpreter does not exit before that is done."""
        with contextlib.suppress(OSError):  # a blob that a power failure takes counts as lost, and is made anew
            self.setting.stack.artifact_store.sync(map(blob_key, dict.fromkeys(self.journal.created)))

    def _after(self, record: Run) -> Run:
        """Call the hooks of the finished run; their errors are noted and change nothing."""
        options = self.prepared.pipeline.options
        hook = options.on_failure if self.failure else options.on_success
        errors = [*_called(hook, record), *self.setting.plugins.emit("drystone_run_finished", run=record)]
        if errors or hook is not None:
            self._note_errors(errors)
            return self.setting.workspace.run(self.run)
        return record

    def _note_errors(self, errors: list[str]) -> None:
        if errors:
            noted = MetadataLogged(kind="run", record=self.run, values={"hook_errors": errors})
            self.setting.workspace.commit(lambda view: [noted])

    def _executor(self) -> Executor:
        context = RunContext(
            run=self.run,
            pipeline=self.graph.pipeline,
            stack=self.setting.stack.name,
            steps=len(self.graph.nodes),
        )
        return self.setting.stack.orchestrator.executor(context)

    def _walk(self, executor: Executor) -> None:
        self.ready.extend(node for node in self.graph.nodes.values() if not node.upstream)
        while self.ready or self.running or self.delayed:
            while self.ready:
                self._begin(self.ready.popleft(), executor)
                self._collect(block=False)
            self._retry_due(executor)
            if not self.ready:
                self._collect(block=True)

    def _begin(self, node: Node, executor: Executor) -> None:
        """Skip a step, take its stored result, or start it."""
        if self.stopping:
            self._settle(node, CANCELLED, self.stopping)
            return
        blocked = next((name for name in node.upstream if self.statuses[name] not in COMPLETE), None)
        if blocked is not None:
            self._settle(node, SKIPPED, f"step {blocked!r}, which it depends on, was {self.statuses[blocked]}")
            return
        if node.when is not None and not self._value(node.when):
            self._settle(node, SKIPPED, f"its condition, the output of {node.when.node!r}, is false")
            return
        decision = self.prepared.planner.decide(node, self.digests)
        if self._reuse(node, decision):
            return
        if decision.cached is not None:
            self.journal.cached(node, decision)
            self.repeated = decision.cached.run
            self._completed(node, CACHED)
        else:
            self.executed += 1
            self._submit(Attempt(node, decision, 1), executor)

    def _reuse(self, node: Node, decision: Decision) -> bool:
        """Keep what this run did before it was resumed, if that is still valid."""
        key, outputs, status = self.done_before.get(node.name, (None, {}, ""))
        if key is None or key != decision.key:
            return False
        self.journal.reused(node, outputs)
        self.executed += status == SUCCEEDED
        self._completed(node, status)
        return True

    def _value(self, ref: OutputRef) -> Any:
        manifest = self.journal.manifests[ref]
        return self.setting.workspace.materializers.load(manifest, self.setting.stack.artifact_store)

    def _submit(self, attempt: Attempt, executor: Executor) -> None:
        self.journal.started(attempt.node, attempt.decision, attempt.number)
        self._flush()
        self._emit("drystone_step_started", step=attempt.node.name)
        attempt.task_id = f"{self.run}/{attempt.node.name}/{attempt.number}/{uuid.uuid4().hex[:8]}"
        here[attempt.task_id] = attempt.node.step
        try:
            future = executor.submit(run_task, to_text(unstructure(self._task(attempt))))
        except BaseException:
            here.pop(attempt.task_id, None)
            raise
        self.running[future] = attempt

    def _task(self, attempt: Attempt) -> StepTask:
        node = attempt.node
        function = node.step.function
        return StepTask(
            id=attempt.task_id,
            run=self.run,
            pipeline=self.graph.pipeline,
            step=node.name,
            attempt=attempt.number,
            code=f"{module_name(function.__module__)}:{function.__qualname__}",
            inputs={name: self._input(binding) for name, binding in node.bindings.items()},
            outputs=tuple(
                OutputTask(output=output.name, artifact=_declared(output.artifact, name))
                for output, name in zip(node.step.outputs, self.prepared.names[node.name], strict=True)
            ),
            parameters={name: shown_parameter(value) for name, value in self.graph.parameters.items()},
            model_version=self.journal.model_version,
            store=self.store_text,
            allow_pickle=self.setting.workspace.materializers.allow_pickle,
            exclusive=self.exclusive,
            pid=os.getpid(),
        )

    def _input(self, binding: Binding) -> dict[str, Any]:
        if isinstance(binding, OutputRef):
            return {"artifact": unstructure(self.journal.manifests[binding])}
        if isinstance(binding, Lookup):
            return {"artifact": unstructure(self.prepared.found[binding.reference].manifest)}
        if isinstance(binding, Items):
            items = [self._input(item) for item in binding.items]
            return {"items": items, "kind": binding.kind, "keys": [to_json(key) for key in binding.keys]}
        return {"value": to_json(binding.value)}

    def _collect(self, *, block: bool) -> None:
        """Take in the results that are there; with `block`, wait for one or for a retry that is due."""
        if not self.running:
            if block and self.delayed:
                time.sleep(max(0.0, self.delayed[0][0] - time.monotonic()))
            return
        timeout = max(0.0, self.delayed[0][0] - time.monotonic()) if self.delayed else None
        if self.journal.waiting:
            timeout = min(timeout if timeout is not None else GROUP, GROUP)
        done = [future for future in self.running if future.done()]
        if block and not done:
            done = [*concurrent.futures.wait(self.running, timeout, concurrent.futures.FIRST_COMPLETED).done]
        for future in done:
            self._take(self.running.pop(future), future)
        if block and not done:
            self._flush()

    def _take(self, attempt: Attempt, future: Future[str]) -> None:
        here.pop(attempt.task_id, None)
        exception: BaseException | None = None
        try:
            answer = future.result()
            exception = getattr(answer, "exception", None) if isinstance(answer, Answer) else None
            result = structure(json.loads(answer), StepResult)
        except (Exception, concurrent.futures.CancelledError) as exc:
            self._failed(attempt, StepResult(), f"{type(exc).__name__}: {exc}", exc)
            return
        if result.failure is None:
            self.journal.succeeded(attempt.node, attempt.decision, result, attempt.number)
            self._completed(attempt.node, SUCCEEDED)
            return
        error = f"{result.failure.type}: {result.failure.message}"
        self._failed(attempt, result, error, exception or StepFailedError(result.failure.traceback))

    def _failed(self, attempt: Attempt, result: StepResult, error: str, exception: BaseException) -> None:
        node = attempt.node
        retry: Retry | None = node.step.options.retries or self.prepared.pipeline.options.retries
        if retry is not None and attempt.number <= retry.max and not self.stopping:
            due = time.monotonic() + retry.wait(attempt.number, random.random())
            again = Attempt(node, attempt.decision, attempt.number + 1)
            heapq.heappush(self.delayed, (due, len(self.statuses), again))
            return
        shown = result.failure.traceback if result.failure is not None else error
        self.journal.failed(node, attempt.decision, result, attempt.number, shown)
        if self.failure is None:
            self.failure = (f"step {node.name!r} raised {error}", exception)
        if self.prepared.pipeline.options.on_error != "continue":
            self.stopping = f"step {node.name!r} failed"
        self._completed(node, FAILED)

    def _retry_due(self, executor: Executor) -> None:
        while self.delayed and self.delayed[0][0] <= time.monotonic():
            _, _, attempt = heapq.heappop(self.delayed)
            self._submit(attempt, executor)

    def _settle(self, node: Node, status: str, reason: str) -> None:
        self.journal.unstarted(node, status, reason)
        self._completed(node, status)

    def _completed(self, node: Node, status: str) -> None:
        """Note how a step ended, and release what waited for it."""
        self.statuses[node.name] = status
        for output in node.step.outputs:
            manifest = self.journal.manifests.get(OutputRef(node.name, output.name))
            if manifest is not None:
                self.digests[OutputRef(node.name, output.name)] = manifest.digest
        for dependent in self.dependents[node.name]:
            self.missing[dependent.name] -= 1
            if self.missing[dependent.name] == 0:
                self.ready.append(dependent)
        self._react(node, status)

    def _react(self, node: Node, status: str) -> None:
        """Commit at once and call hooks, where somebody waits for that."""
        options = node.step.options
        hook = {SUCCEEDED: options.on_success, FAILED: options.on_failure}.get(status)
        if hook is None and not self.listened:
            if time.monotonic() - self.flushed_at > GROUP:
                self._flush()
            return
        self._flush()
        record = self.setting.workspace.step_run(self.run, node.name)
        errors = _called(hook, record)
        self._note_errors([*errors, *self.setting.plugins.emit("drystone_step_finished", step_run=record)])

    def _emit(self, event: str, *, run: bool = False, step: str | None = None) -> None:
        if not self.setting.plugins.listens(event):
            return
        workspace = self.setting.workspace
        values: dict[str, Any] = (
            {"run": workspace.run(self.run)} if run else {"step_run": workspace.step_run(self.run, step or "")}
        )
        self._note_errors(self.setting.plugins.emit(event, **values))

    def _flush(self) -> None:
        self.journal.flush()
        self.flushed_at = time.monotonic()

    def _abandon(self, status: str, reason: str) -> None:
        """Record how things stand when the driver has to stop."""
        for attempt in self.running.values():
            here.pop(attempt.task_id, None)
        for name, node in self.graph.nodes.items():
            if name not in self.statuses:
                self.journal.unstarted(node, CANCELLED, reason)
        self.journal.finished(status, self.executed, reason, None)
        self._flush()


def _called(hook: Callable[[Any], object] | None, record: Any) -> list[str]:
    if hook is None:
        return []
    try:
        hook(record)
    except Exception as exc:  # a hook's error is recorded and changes nothing
        return [f"{getattr(hook, '__qualname__', hook)}: {type(exc).__name__}: {exc}"]
    return []


def _declared(artifact: Artifact, name: str) -> Artifact:
    return attrs.evolve(artifact, name=name)
