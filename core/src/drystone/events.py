"""The ledger's event types: every fact a workspace knows is one of these.

Fields are JSON-safe values. A change that older packages would misread raises `V`; a new type that they may skip
without telling lies is not `critical`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from drystone.artifacts import Manifest
from drystone.errors import FormatError
from drystone.serialization import unstructure

Pair = tuple[str, int]
"""An artifact version: name and number. Also a model version."""

EVENTS: dict[str, type[Event]] = {}
"""Every event type, by the name it has in the ledger."""


@attrs.frozen(kw_only=True)
class Event:
    """One fact.

    Class attributes:
        TYPE: What it is called in the ledger; never changes.
        V: The version of its fields.
        critical: Whether a package that does not know the type must refuse the ledger instead of skipping it.
        granted: Whether it counts in a shared workspace only if somebody who may do that has vouched for its commit.
    """

    TYPE: ClassVar[str] = ""
    V: ClassVar[int] = 1
    critical: ClassVar[bool] = True
    granted: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if cls.TYPE:
            EVENTS[cls.TYPE] = cls


@attrs.frozen(kw_only=True)
class RunStarted(Event):
    """A run exists now; its planned `steps` are pending. `lock` names the driver's lock.

    `upstream` says for each step that has to wait for others which those are.
    `references` holds the parameters that are or hold artifacts, as values that `resume` restores them from; `options`
    what was asked for beside the code; `components` what the stack consisted of, as `Stack.inventory` says it.
    """

    TYPE: ClassVar[str] = "run.started"

    run: str
    number: int
    pipeline: str
    stack: str
    components: Mapping[str, Any] = attrs.field(factory=dict)
    parameters: Mapping[str, Any]
    references: Mapping[str, Any] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict)
    target: str | None = None
    root: str | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    model: str | None = None
    commit: str | None = None
    dirty: bool = False
    host: str = ""
    pid: int = 0
    lock: str = ""
    steps: tuple[str, ...] = ()
    upstream: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RunClaimed(Event):
    """Another driver took the run over; what the driver of an older epoch still sends is refused."""

    TYPE: ClassVar[str] = "run.claimed"

    run: str
    epoch: int
    host: str
    pid: int
    lock: str


@attrs.frozen(kw_only=True)
class CancelRequested(Event):
    """Somebody wants a run to be cancelled; its driver will."""

    TYPE: ClassVar[str] = "run.cancel_requested"

    run: str


@attrs.frozen(kw_only=True)
class RunFinished(Event):
    """A run ended. `outputs` is what the pipeline's body returned."""

    TYPE: ClassVar[str] = "run.finished"

    run: str
    status: str
    outputs: Mapping[str, Pair] = attrs.field(factory=dict)
    executed: int = 0
    error: str | None = None
    model_version: Pair | None = None


@attrs.frozen(kw_only=True)
class StepEvent(Event):
    """What is known of a step before it starts.

    Attributes:
        key: Its cache key, None where there can be none.
        closure: Digest of the code it reaches.
        parameters: Its plain arguments as text, for people.
        values: Digests of the same arguments.
        inputs: The artifact versions among its arguments.
        input_digests: Their content.
        causes: Why it runs: kind, text and name of each.
        compared_with: The run that it was compared with for that, and the digest of the code it reached there.
        options: What its step declares other than by default and may change what becomes of it, as text.
    """

    run: str
    step: str
    key: str | None = None
    closure: str | None = None
    parameters: Mapping[str, str] = attrs.field(factory=dict)
    values: Mapping[str, str] = attrs.field(factory=dict)
    inputs: Mapping[str, Pair] = attrs.field(factory=dict)
    input_digests: Mapping[str, str] = attrs.field(factory=dict)
    causes: tuple[tuple[str, str, str], ...] = ()
    compared_with: tuple[str, str | None] | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class StepStarted(StepEvent):
    """An attempt at a step began, `inline` in the driver's own process or in a `worker`; a map has so many elements."""

    TYPE: ClassVar[str] = "step.started"

    attempt: int = 1
    where: str = ""
    elements: int | None = None


@attrs.frozen(kw_only=True)
class StepRetried(Event):
    """An attempt at a step failed, and another one follows; what it noted stays with it."""

    TYPE: ClassVar[str] = "step.retried"
    critical: ClassVar[bool] = False

    run: str
    step: str
    attempt: int
    error: str
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    log: str | None = None
    store: str = ""


@attrs.frozen(kw_only=True)
class DynamicInput:
    """An artifact version that a step loaded while it ran."""

    name: str
    version: int
    manifest: Manifest


@attrs.frozen(kw_only=True)
class StepFinished(StepEvent):
    """A step ended, or never ran: cached, skipped, cancelled. What its start has said need not be said again.

    Attributes:
        outputs: Made or, when cached, linked.
        cached_from: Run whose result was used; `cached_step` is the step in it.
        log: Digest of the blob that holds what it printed; `store` is where that and its outputs are.
        deterministic: Whether every output was written by a deterministic materializer.
        dynamic_inputs: Name, version and content of what it loaded while it ran, by what it asked for.
        counts: Of a map, how many of its elements ended how.
    """

    TYPE: ClassVar[str] = "step.finished"

    status: str
    attempts: int = 0
    outputs: Mapping[str, Pair] = attrs.field(factory=dict)
    cached_from: str | None = None
    cached_step: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    error: str | None = None
    log: str | None = None
    store: str = ""
    deterministic: bool = True
    dynamic_inputs: Mapping[str, tuple[str, int, str]] = attrs.field(factory=dict)
    counts: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ElementFinished(StepEvent):
    """An element of a map ended. What it shares with the others is said of the map.

    Attributes:
        index: Its place among the elements.
        parts: Its arguments that are parts of lists: the place in the list, and the part.
        outputs: What it made, or when cached repeated: parts of the lists that the map will make.
        noted: Metadata of its outputs.
        started_at: When its last attempt began.
        failed_attempts: Those before the last one.

    The others are as in `StepFinished`.
    """

    TYPE: ClassVar[str] = "element.finished"

    index: int
    status: str
    parts: Mapping[str, tuple[int, Manifest]] = attrs.field(factory=dict)
    outputs: Mapping[str, Manifest] = attrs.field(factory=dict)
    noted: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    attempts: int = 0
    cached_from: str | None = None
    cached_step: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    error: str | None = None
    log: str | None = None
    store: str = ""
    dynamic_inputs: Mapping[str, tuple[str, int, str]] = attrs.field(factory=dict)
    started_at: str | None = None
    failed_attempts: tuple[Mapping[str, Any], ...] = ()


@attrs.frozen(kw_only=True)
class ArtifactSaved(Event):
    """A new version of an artifact. `run`, `step` and `output` are None for one saved outside a run.

    A worker leaves the version 0: the driver numbers it when it commits.
    """

    TYPE: ClassVar[str] = "artifact.saved"

    name: str
    version: int = 0
    kind: str
    manifest: Manifest
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    run: str | None = None
    step: str | None = None
    output: str | None = None


@attrs.frozen(kw_only=True)
class CodeRecorded(Event):
    """What a code closure consists of: digests of its members by name, and versions of the packages it uses."""

    TYPE: ClassVar[str] = "code.recorded"
    critical: ClassVar[bool] = False

    closure: str
    members: Mapping[str, str]
    python: str
    packages: Mapping[str, str]


@attrs.frozen(kw_only=True)
class SourceRecorded(Event):
    """The text of one member of a closure, kept to show what changed."""

    TYPE: ClassVar[str] = "source.recorded"
    critical: ClassVar[bool] = False

    digest: str
    name: str
    text: str


@attrs.frozen(kw_only=True)
class ModelDeclared(Event):
    """A model is known now, or its description or tags are new."""

    TYPE: ClassVar[str] = "model.declared"

    model: str
    description: str = ""
    tags: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ModelVersionCreated(Event):
    """A new version of a model, made by a run or by hand."""

    TYPE: ClassVar[str] = "model.version_created"

    model: str
    number: int
    name: str | None = None
    run: str | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Linked(Event):
    """An artifact version belongs to a model version, or with number None to the model. Role: output or input."""

    TYPE: ClassVar[str] = "model.linked"

    model: str
    number: int | None
    artifact: str
    version: int
    role: str = "output"


@attrs.frozen(kw_only=True)
class StageMoved(Event):
    """A stage of a model went from one version to another."""

    TYPE: ClassVar[str] = "model.stage_moved"
    granted: ClassVar[bool] = True

    model: str
    stage: str
    number: int | None
    previous: int | None
    action: str
    reason: str | None = None


@attrs.frozen(kw_only=True)
class MetadataLogged(Event):
    """Metadata of a record, added to what it has.

    Kinds and records: run `training-3`, step `training-3/train`, artifact `name@2`, model `name`, model_version
    `name@2`.
    """

    TYPE: ClassVar[str] = "metadata.logged"

    kind: str
    record: str
    values: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Tagged(Event):
    """Tags of a record, added to what it has. Kinds and records as in `MetadataLogged`."""

    TYPE: ClassVar[str] = "record.tagged"

    kind: str
    record: str
    tags: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Untagged(Event):
    """Tags of a record, taken away by name."""

    TYPE: ClassVar[str] = "record.untagged"

    kind: str
    record: str
    tags: tuple[str, ...]


def event_to_json(event: Event) -> dict[str, Any]:
    """An event as the ledger keeps it."""
    return {"type": event.TYPE, "v": event.V, "critical": event.critical, **unstructure(event)}


def needs_grant(data: Mapping[str, Any]) -> bool:
    """Whether an event counts in a shared workspace only with a grant."""
    return EVENTS.get(data["type"], Event).granted


def is_known(data: Mapping[str, Any]) -> bool:
    """Whether this package understands an event; False where it may skip it.

    Raises:
        FormatError: It must not be skipped.
    """
    cls = EVENTS.get(data["type"])
    if cls is not None and data["v"] <= cls.V:
        return True
    if not data["critical"]:
        return False
    raise FormatError(
        f"The ledger holds an event {data['type']!r} (version {data['v']}), which this version of Drystone does not "
        "know and must not skip. Install the version that wrote it, or a newer one: pip install -U drystone-core."
    )
