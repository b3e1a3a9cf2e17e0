"""Tasks and results: what the driver and a worker say to each other, as JSON."""

from __future__ import annotations

from typing import Any

import attrs

from drystone.artifacts import Artifact
from drystone.events import ArtifactSaved, DynamicInput, Pair
from drystone.failures import Failure
from drystone.serialization import to_text, unstructure

TASK, RESULT = "task.json", "result.json"
"""What the driver leaves in the folder of an attempt, and what its worker leaves there."""

UNABLE = 70
"""The exit code of a launched worker that failed outside its step: before it, or because the result cannot be stored.

It is what `sysexits.h` calls an internal error."""


@attrs.frozen(kw_only=True)
class OutputTask:
    """How one output is to be kept.

    Attributes:
        output: What the step calls it.
        name: The artifact's name.
        artifact: How that is declared.
        in_parts: Whether it is a list that is stored member by member, because some step maps over it.
    """

    output: str
    name: str
    artifact: Artifact
    in_parts: bool = False


@attrs.frozen(kw_only=True)
class StepTask:
    """Everything a worker is told.

    Attributes:
        id: Unique to this attempt.
        code: `module:function`, to be imported where this is not the driver's process.
        closure: Digest of the code that it reaches, which must be the same wherever it is imported; None if unknown.
        bundle: Digest of the project's code in the artifact store, for a worker that has not the files of this machine;
            then `closure` is that of the code alone, without the packages around it.
        key: The cache key, which tells code, arguments and environment from others; None if there can be none.
        root: The project's root.
        folder: Where in the artifact store this attempt and the driver leave messages for each other.
        inputs: By parameter: `{"value": …}`, `{"artifact": manifest}` or `{"items": […], "kind": …, "keys": …}`.
        parameters: The pipeline's, as JSON; where they are large, `parameters_at` is their key in the artifact store.
        store: The artifact store, as JSON.
        components: Those of the stack that the step uses, as JSON, by kind.
        exclusive: Whether nothing else runs in the worker's process meanwhile.
        pid: Process id of the driver.
        timeout: Seconds after which whoever supervises the worker ends it.
        resources: `cpus`, `memory` in bytes and `gpus` that it may use.
        log: The file of this machine that takes what is printed, for others to follow; None where there is none.
        debug: Whether somebody debugs it: it prints to the terminal, and the debugger opens where it fails.
    """

    id: str
    run: str
    pipeline: str
    step: str
    attempt: int
    code: str
    closure: str | None
    root: str
    inputs: dict[str, Any]
    outputs: tuple[OutputTask, ...]
    parameters: dict[str, Any]
    model_version: Pair | None
    store: str
    allow_pickle: bool
    exclusive: bool
    pid: int
    timeout: float | None = None
    resources: dict[str, Any] | None = None
    log: str | None = None
    debug: bool = False
    parameters_at: str | None = None
    components: dict[str, Any] = attrs.field(factory=dict)
    bundle: str | None = None
    key: str | None = None
    folder: str = ""

    def makes_what(self, other: StepTask) -> bool:
        """Whether this attempt does what another one does, at whatever time and place."""
        names = (*SAME, "key" if self.key is not None else "bundle")
        mine, its = (to_text(unstructure([getattr(each, name) for name in names])) for each in (self, other))
        return mine == its


SAME = ("step", "code", "inputs", "outputs", "parameters", "model_version", "components", "allow_pickle", "store")
"""What two attempts at the same work have in common besides their code and its environment."""


@attrs.frozen(kw_only=True)
class StepResult:
    """What a worker answers. After a failure nothing is saved, and what was logged stays with the attempt.

    Attributes:
        id: Of the task; where it cannot be mistaken, empty.
    """

    id: str = ""
    saved: tuple[ArtifactSaved, ...] = ()
    metadata: dict[str, Any] = attrs.field(factory=dict)
    log: str | None = None
    failure: Failure | None = None
    dynamic_inputs: dict[str, DynamicInput] = attrs.field(factory=dict)


class Answer(str):
    """The JSON of a `StepResult`; inside one process it brings the exception itself along."""

    exception: BaseException | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)
