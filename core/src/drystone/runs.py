"""Runs and plans: frozen records of what happened and of what would."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone.artifacts import ArtifactVersion, Source, source_field
from drystone.models import ModelVersion

PENDING, RUNNING, SUCCEEDED, FAILED = "pending", "running", "succeeded", "failed"
CACHED, SKIPPED, CANCELLED, CRASHED = "cached", "skipped", "cancelled", "crashed"

RUN, MAYBE = "run", "maybe"

COMPLETE = (SUCCEEDED, CACHED)
"""Statuses of a step whose outputs can be used."""


@attrs.frozen(kw_only=True)
class FailedAttempt:
    """An attempt at a step that failed and was followed by another: its error, what it logged, its log's digest."""

    attempt: int
    error: str
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    log: str | None = None
    store: str = attrs.field(default="", repr=False)
    ended_at: datetime.datetime | None = None


@attrs.frozen(kw_only=True)
class StepRun:
    """What became of one step in one run.

    Attributes:
        status: `pending`, `running`, `succeeded`, `failed`, `cached`, `skipped`, `cancelled` or `crashed`.
        cached_from: Name of the run whose result was used instead of computing, or None.
        inputs: Artifact versions it read, by parameter; `data[0]` is the first item of a list of them.
        outputs: Artifact versions it made or, when cached, linked, by output name.
        parameters: Its other arguments, as text.
        attempts: How often it was started.
        failed_attempts: Those before the last one.
        error: Type, message and traceback of the failure or the reason it was skipped, or None.
        reason: Why it ran; empty if it did not.
        tags: Plain tags map to True, keyed tags to their value.
        where: `inline` in the driver's own process, or `worker`; empty if it did not run.
        dynamic_inputs: Artifact versions that it loaded while it ran, by what it asked for, as `prices@latest`.
    """

    name: str
    run: str
    status: str
    cached_from: str | None = None
    inputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    outputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    parameters: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    attempts: int = 0
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    tags: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    error: str | None = attrs.field(default=None, repr=False)
    reason: str = attrs.field(default="", repr=False)
    started_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    ended_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    key: str | None = attrs.field(default=None, repr=False)
    log: str | None = attrs.field(default=None, repr=False)
    store: str = attrs.field(default="", repr=False)
    where: str = attrs.field(default="", repr=False)
    dynamic_inputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    failed_attempts: tuple[FailedAttempt, ...] = attrs.field(default=(), repr=False)
    _source: Source | None = source_field()  # noqa: RUF009 - an attrs field

    def logs(self, attempt: int | None = None) -> str:
        """What it printed and logged, in its last attempt or in a failed one before.

        Of an attempt that is running, or whose driver died, it is what there is so far.
        """
        of = next((each for each in self.failed_attempts if each.attempt == attempt), self)
        if self._source is None:
            return ""
        if of.log is None and of is self and self.status in (RUNNING, CRASHED):
            return self._source.read_live_log(self.run, self.name, self.attempts)
        return self._source.read_log(of.log, of.store) if of.log else ""


@attrs.frozen(kw_only=True)
class Code:
    """Where a run's code came from: the Git commit of the project and whether files differed from it."""

    commit: str | None = None
    dirty: bool = False


@attrs.frozen(kw_only=True)
class Run:
    """One execution of a pipeline.

    Attributes:
        name: Pipeline and number, as `training-17`.
        status: `running`, `succeeded`, `failed`, `cancelled` or `crashed`.
        options: What was asked for beside the code (`with_options`, the command line), and `resume` asks for again.
        steps: In order of execution, by name.
        outputs: What the pipeline's body returned, by output name.
        model_version: The version it made, used, or whose outputs it repeated from the cache; or None.
        executed: How many steps computed something; 0 means that everything came from the cache.
        target: `module:pipeline` or None where the code cannot be imported; what `resume` starts from.
    """

    name: str
    number: int
    pipeline: str
    status: str
    stack: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    started_at: datetime.datetime = attrs.field(repr=False)
    ended_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    steps: Mapping[str, StepRun] = attrs.field(factory=dict, repr=False)
    outputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    model_version: ModelVersion | None = attrs.field(default=None, repr=False)
    tags: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    code: Code = attrs.field(factory=Code, repr=False)
    executed: int = 0
    error: str | None = attrs.field(default=None, repr=False)
    target: str | None = attrs.field(default=None, repr=False)
    root: str | None = attrs.field(default=None, repr=False)
    author: str = attrs.field(default="", repr=False)
    host: str = attrs.field(default="", repr=False)

    @property
    def output(self) -> ArtifactVersion:
        """The one output of a pipeline that returns one step's one output.

        Raises:
            LookupError: It has none, or several.
        """
        if len(self.outputs) != 1:
            raise LookupError(f"Run {self.name} has {len(self.outputs)} outputs: {', '.join(self.outputs) or 'none'}.")
        return next(iter(self.outputs.values()))


@attrs.frozen
class Cause:
    """Why a step runs, or does not.

    Attributes:
        kind: `code`, `parameter`, `input`, `package`, `python`, `new`, `cache`, `rerun`, `blob`, `edited`, `options`,
            `condition`, `unknown`.
        text: One sentence.
        diff: A unified diff, where code changed.
    """

    kind: str
    text: str
    diff: str | None = None

    def lines(self) -> Iterator[str]:
        """The cause as text, with its diff indented below."""
        yield self.text
        yield from (f"  {line}" for line in (self.diff or "").splitlines())


@attrs.frozen(kw_only=True)
class StepPlan:
    """What would become of one step: `run`, `cached` (from which run), `skipped`, or `maybe`: that is not known yet.

    Attributes:
        where: `inline` in the driver's own process, or `worker`; empty for a step that does not run.
    """

    name: str
    status: str
    cached_from: str | None = None
    causes: tuple[Cause, ...] = ()
    where: str = ""


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do where no step fails: all that say `run` are executed, and no others but some `maybe`."""

    pipeline: str
    stack: str
    steps: Mapping[str, StepPlan]

    @property
    def would_run(self) -> bool:
        """Whether anything runs or may run."""
        return any(step.status in (RUN, MAYBE) for step in self.steps.values())

    def __str__(self) -> str:
        width = max(len(name) for name in self.steps)
        lines = [f"{self.pipeline} on stack {self.stack}"]
        for step in self.steps.values():
            source = f" from {step.cached_from}" if step.cached_from else ""
            lines.append(f"  {step.name:<{width}}  {step.status}{source}")
            lines += [f"      {line}" for cause in step.causes for line in cause.lines()]
        return "\n".join(lines)
