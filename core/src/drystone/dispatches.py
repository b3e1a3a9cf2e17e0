"""Dispatches: what a worker is told of a step, and what the driver answers while that runs."""

from __future__ import annotations

import functools
import json
import os
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs

from drystone.artifacts import Reference
from drystone.blobs import store_bytes
from drystone.digests import digest_value, module_name
from drystone.errors import DrystoneError, message_of
from drystone.events import DynamicInput
from drystone.functions import Output
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef, Part
from drystone.hits import Decision
from drystone.journals import Journal
from drystone.logs import LIMIT, bound_log_file, live_path, log_file, read_log_file, step_of
from drystone.orchestrators import ISOLATION, PARALLEL
from drystone.parts import brief
from drystone.placements import INLINE, orchestrator_for
from drystone.preparation import Prepared
from drystone.runs import CANCELLED, FAILED, SUCCEEDED
from drystone.serialization import to_text, unstructure
from drystone.tasks import OutputTask, StepTask
from drystone.values import class_name, dumps, to_json

LARGE = 4096
"""Characters of the pipeline's parameters that stand in a task."""

LOOK = 0.1
"""Seconds between two looks for what steps ask through the artifact store."""

LOOK_ELSEWHERE = 0.5
"""The same, if the store is elsewhere, where each look takes long, or costs."""

PATIENCE = 1.0
"""Seconds without a look after which the driver has other things to do."""


@attrs.frozen(order=False)
class Attempt:
    """A step on its way: what was decided, how often it was tried, and the id of its task."""

    node: Node
    decision: Decision
    number: int = 1
    task_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)


class Dispatch:
    """Makes the tasks of one run, and answers what its steps ask.

    Attributes:
        where: Where each node runs, `inline` or `worker`.
        may_be_asked: Whether workers may ask through the artifact store; others have a shorter way.
    """

    def __init__(self, prepared: Prepared, journal: Journal, run: str, epoch: int = 1) -> None:
        self.where = prepared.where
        self._prepared = prepared
        self._journal = journal
        self._run = run
        self._store = dumps(to_json(prepared.stack.artifact_store))
        self._epoch = epoch
        can = {name: each.capabilities for name, each in prepared.orchestrators.items()}
        self._isolated = {name for name, each in can.items() if PARALLEL not in each or ISOLATION in each}
        launches = any(each.launches for each in prepared.orchestrators.values())
        self.may_be_asked = launches or not all(each >= {PARALLEL, ISOLATION} for each in can.values())
        self._live = live_path(prepared.workspace.directory, run, "", 0).parent
        self._folder = str(self._live)
        self._looked_at = 0.0
        self._pause = LOOK_ELSEWHERE if prepared.stack.artifact_store.is_remote else LOOK

    def task(self, attempt: Attempt) -> StepTask:
        """The task of an attempt."""
        node, prepared = attempt.node, self._prepared
        function, options = node.step.fn, node.step.options
        inline = self.where[node.call] == INLINE
        return StepTask(
            id=attempt.task_id,
            run=self._run,
            pipeline=prepared.graph.pipeline,
            step=node.name,
            attempt=attempt.number,
            code=f"{module_name(function.__module__)}:{function.__qualname__}",
            closure=attempt.decision.closure.digest,
            root=str(prepared.root),
            inputs={name: self._input(binding) for name, binding in node.bindings.items()},
            outputs=tuple(
                self._output(node, *each) for each in zip(node.step.outputs, prepared.names[node.call], strict=True)
            ),
            parameters={} if self._parameters else prepared.parameters,
            parameters_at=self._parameters,
            model_version=self._journal.model_version,
            store=self._store,
            allow_pickle=prepared.workspace.materializers.allow_pickle,
            exclusive=inline or orchestrator_for(node, prepared.stack)[0] in self._isolated,
            pid=os.getpid(),
            timeout=options.timeout,
            resources=attrs.asdict(options.resources) if options.resources is not None else None,
            log=self._log(attempt),
            debug=prepared.pipeline.options.debug,
            components={kind: self._component(kind) for kind in options.uses},
            key=attempt.decision.key,
            folder=self.folder_of(attempt),
        )

    @functools.cached_property
    def folder(self) -> str:
        """Where in the artifact store this run and its workers leave messages for each other.

        Other workspaces that share the store may have runs of the same name.
        """
        with self._prepared.workspace.reading() as records:
            run = records.index.get("run", self._run) or {}
        return f"tasks/{self._run}-{digest_value((self._run, run.get('started_at'), run.get('author')))[:8]}/"

    def folder_of(self, attempt: Attempt) -> str:
        """The folder of an attempt; each driver of a run has others."""
        again = f".{self._epoch}" if self._epoch > 1 else ""
        return f"{self.folder}{attempt.node.name}/{attempt.number}{again}"

    def _component(self, kind: str) -> Any:
        return to_json(self._prepared.stack.components[kind])

    def _output(self, node: Node, output: Output, name: str) -> OutputTask:
        in_parts = OutputRef(node.name, output.name) in self._prepared.graph.in_parts
        return OutputTask(output=output.name, name=name, artifact=output.artifact, in_parts=in_parts)

    @functools.cached_property
    def _parameters(self) -> str | None:
        """Where the pipeline's parameters are stored for the tasks, if they are too large to stand in each of them."""
        text = to_text(self._prepared.parameters)
        if len(text) <= LARGE:
            return None
        key = f"{self.folder}parameters.json"
        self._prepared.stack.artifact_store.write(key, text.encode())
        return key

    def _input(self, binding: Binding) -> dict[str, Any]:
        if isinstance(binding, OutputRef | Lookup):
            manifest = self._prepared.hits.manifest(binding, self._journal.manifests)
            return {"artifact": brief(manifest)}
        if isinstance(binding, Part):
            return {"artifact": binding.manifest}
        if isinstance(binding, Items):
            items = [self._input(item) for item in binding.items]
            return {
                "items": items,
                "kind": class_name(binding.container),
                "keys": [to_json(key) for key in binding.keys],
            }
        return {"value": to_json(binding.value)}

    def _log(self, attempt: Attempt) -> str:
        return log_file(self._folder, attempt.node.name, attempt.number)

    def salvaged(self, attempt: Attempt) -> str | None:
        """The log of an attempt whose worker cannot tell any more, stored; its digest, if there is one."""
        return self._stored(Path(self._log(attempt)))

    def kept(self, task: StepTask) -> str | None:
        """What was printed by the job of a task, stored; its digest, if there is any."""
        return self._stored(Path(task.log)) if task.log is not None else None

    def _stored(self, path: Path) -> str | None:
        with suppress(OSError, DrystoneError):
            printed = read_log_file(path)
            return store_bytes(self._prepared.stack.artifact_store, printed) if printed else None
        return None

    def tend(self) -> None:
        """What has to be seen to while steps run, also when the driver only waits for their ends."""
        self.bound_logs()
        if self.may_be_asked and time.monotonic() - self._looked_at > PATIENCE:
            self.answer_asked()

    def bound_logs(self) -> None:
        """Free the middle of logs that workers let grow: while a C extension prints, they may not be able to."""
        with suppress(OSError), os.scandir(self._live) as files:
            for file in files:
                if file.stat().st_blocks * 512 > 2 * LIMIT:
                    bound_log_file(file.path)

    def left(self) -> dict[str, str]:
        """The logs of attempts that did not come to their end, stored; their digests by node."""
        attempts = {path: step_of(path) for path in sorted(self._live.glob("*.log"))}
        stored = {name: self._stored(path) for path, name in attempts.items()}
        return {name: digest for name, digest in stored.items() if digest is not None}

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over and its log is stored, so nobody needs the file any more."""
        with suppress(OSError):
            os.unlink(self._log(attempt))

    def clean(self) -> None:
        """The run is over: what it has left for followers and workers can go.

        So can what others left that ended and were killed at this point; those that crashed may still be asked.
        """
        shutil.rmtree(self._live, ignore_errors=True)
        with suppress(OSError), os.scandir(self._live.parent) as folders, self._prepared.workspace.reading() as records:
            for folder in folders:
                other = records.index.get("run", unquote(folder.name)) or {}
                if other.get("status") in (SUCCEEDED, FAILED, CANCELLED):
                    shutil.rmtree(folder, ignore_errors=True)
        if self.may_be_asked or vars(self).get("_parameters"):
            store = self._prepared.stack.artifact_store
            for key, _ in list(store.list(self.folder)):
                store.delete(key)
            if (here := store.local_path(self.folder.rstrip("/"))) is not None:  # where directories stay
                shutil.rmtree(here, ignore_errors=True)

    def answer(self, question: str) -> str:
        """Answer what a step asks of the workspace; from any thread.

        `{"load": [name, version]}` is answered with `{"found": …}`, a `DynamicInput`, or `{"error": [class, message]}`.
        """
        try:
            found = self._prepared.workspace.resolve(Reference(*json.loads(question)["load"]))
            self._prepared.hits.holdings.doubts([found.manifest])
            self._prepared.hits.ensure(found)
            version = DynamicInput(name=found.name, version=found.version, manifest=found.manifest)
            return to_text({"found": unstructure(version)})
        except DrystoneError as exc:
            return to_text({"error": [type(exc).__name__, message_of(exc)]})

    def answer_asked(self) -> None:
        """Answer what steps have asked through the artifact store since the last look.

        A store that cannot be reached now can be at the next look.
        """
        if time.monotonic() - self._looked_at < self._pause:
            return
        with suppress(OSError, DrystoneError):
            self._answer_all()
        self._looked_at = time.monotonic()

    def _answer_all(self) -> None:
        store = self._prepared.stack.artifact_store
        for key, _ in list(store.list(self.folder)):
            folder, asks, name = key.rpartition("/ask/")
            if asks and "/" not in name:  # else it is the step that is called so
                with suppress(FileNotFoundError):
                    answer = self.answer(store.read_range(key, 0, None).decode())
                    store.write(f"{folder}/answer/{name}", answer.encode())
                    store.delete(key)
