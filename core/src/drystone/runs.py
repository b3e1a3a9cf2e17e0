"""Runs and plans: frozen records of what happened and of what would."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from drystone.artifacts import ArtifactVersion, Source, source_field
from drystone.declarations import imported
from drystone.models import ModelVersion
from drystone.wordings import FEW as FEW
from drystone.wordings import elapsed as elapsed
from drystone.wordings import few as few
from drystone.wordings import headline as headline
from drystone.wordings import span as span

PENDING, RUNNING, SUCCEEDED, FAILED = "pending", "running", "succeeded", "failed"
CACHED, SKIPPED, CANCELLED, CRASHED = "cached", "skipped", "cancelled", "crashed"

RUN, MAYBE = "run", "maybe"

COMPLETE = (SUCCEEDED, CACHED)
"""Statuses of a step whose outputs can be used."""

PAGES = "drystone.pages"
"""What draws runs and plans for notebooks; imported when one asks, never before."""


@attrs.frozen
class Cause:
    """Why a step runs, or does not.

    Attributes:
        kind: `code`, `parameter`, `input`, `package`, `python`, `new`, `cache`, `rerun`, `blob`, `edited`, `options`,
            `condition`, `dynamic`, `unknown`, `error`, or `step`: another step that runs.
        text: One sentence.
        diff: A unified diff, where code changed.
        name: What it is about: the function, parameter, input, package, option or step; empty if there is nothing.
        causes: What it comes from in turn, such as the steps that make an input anew, each with its own causes.
    """

    kind: str
    text: str
    diff: str | None = None
    name: str = attrs.field(default="", kw_only=True)
    causes: tuple[Cause, ...] = attrs.field(default=(), kw_only=True)

    def lines(self) -> Iterator[str]:
        """The cause as text, with its diff and what it comes from indented below."""
        yield self.text
        yield from (f"  {line}" for line in (self.diff or "").splitlines())
        yield from (f"  {line}" for cause in self.causes for line in cause.lines())


def of_step(name: str, verb: str, causes: Iterable[Cause]) -> Cause:
    """Another step that runs, or ran, as a cause; its diffs stand where that step itself is told of."""
    own = tuple(attrs.evolve(cause, diff=None, causes=()) for cause in causes)
    return Cause("step", f"{name} {verb}", name=name, causes=own)


def origins_of(steps: Iterable[Cause]) -> tuple[Cause, ...]:
    """Causes of kind `step`, each step once and a few at most, so that a tree stays small in a graph of any size."""
    known = {cause.name: cause for cause in steps}
    more = (Cause("step", "and others"),) if len(known.keys() - {""}) > FEW or "" in known else ()
    return (*[cause for name, cause in known.items() if name][:FEW], *more)


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
        causes: Why it ran, as that was when it began; none if it did not. `Workspace.why` tells more of each.
        options: What its step declares other than by default and may change what becomes of it, as text.
        tags: Plain tags map to True, keyed tags to their value.
        where: `inline` in the driver's own process, or `worker`; empty if it did not run.
        dynamic_inputs: Artifact versions that it loaded while it ran, by what it asked for, as `prices@latest`.
        counts: Of a map, how many of its elements have which status.
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
    causes: tuple[Cause, ...] = attrs.field(default=(), repr=False)
    options: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    started_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    ended_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    key: str | None = attrs.field(default=None, repr=False)
    log: str | None = attrs.field(default=None, repr=False)
    store: str = attrs.field(default="", repr=False)
    where: str = attrs.field(default="", repr=False)
    dynamic_inputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    failed_attempts: tuple[FailedAttempt, ...] = attrs.field(default=(), repr=False)
    counts: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    _source: Source | None = source_field()  # noqa: RUF009 - an attrs field

    @functools.cached_property
    def elements(self) -> tuple[StepRun, ...]:
        """What became of each element of a map, as steps named `sq[0]`, `sq[1]`, …; looked up on first use."""
        return tuple(self._source.elements(self.run, self.name)) if self.counts and self._source else ()

    @property
    def executed(self) -> int:
        """1 if it computed its outputs, else 0; of a map how many of its elements did."""
        return self.counts.get(SUCCEEDED, 0) if self.counts else int(self.status == SUCCEEDED)

    @property
    def reason(self) -> str:
        """Why it ran, in one line; empty if it did not."""
        return "; ".join(cause.text for cause in self.causes)

    @property
    def seconds(self) -> float | None:
        """How long it took, with every attempt; None as long as it has not begun and ended."""
        return elapsed(self.started_at, self.ended_at)

    @property
    def outcome(self) -> str:
        """How it stands, in one line: `succeeded in 1.2 s`, `cached from fit-1`, `failed in 3 ms: ValueError: no`."""
        source = f" from {self.cached_from}" if self.cached_from else ""
        took = f" in {span(self.seconds)}" if self.seconds is not None else ""
        tries = f", attempt {self.attempts}" if self.attempts > 1 else ""
        why = f": {headline(self.error)}" if self.error else ""
        return f"{self.status}{source}{took}{tries}{why}"

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
        components: What its stack consisted of: of each kind the class, where that is from, and the settings.
        options: What was asked for beside the code (`with_options`, the command line), and `resume` asks for again.
        steps: In order of execution, by name.
        upstream: The steps that each step had to wait for, be it for what they make or only for their end.
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
    components: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    started_at: datetime.datetime = attrs.field(repr=False)
    ended_at: datetime.datetime | None = attrs.field(default=None, repr=False)
    steps: Mapping[str, StepRun] = attrs.field(factory=dict, repr=False)
    upstream: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)
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
    def seconds(self) -> float | None:
        """How long it took; None as long as it has not ended."""
        return elapsed(self.started_at, self.ended_at)

    @property
    def output(self) -> ArtifactVersion:
        """The one output of a pipeline that returns one step's one output.

        Raises:
            LookupError: It has none, or several.
        """
        if len(self.outputs) != 1:
            raise LookupError(f"Run {self.name} has {len(self.outputs)} outputs: {', '.join(self.outputs) or 'none'}.")
        return next(iter(self.outputs.values()))

    def _repr_html_(self) -> str:
        """Itself in a notebook: its graph as a drawing, its errors, outputs and steps."""
        page: str = imported(f"{PAGES}:of_run")(self)
        return page


@attrs.frozen(kw_only=True)
class StepPlan:
    """What would become of one step: `run`, `cached` (from which run), `skipped`, or `maybe`: that is not known yet.

    Attributes:
        where: Where it would run, `inline` or `worker`; empty if that is not decided beforehand.
        on: Which of the stack's `step_orchestrators` that is a worker of; empty where it is none of them.
        seconds: How long it took as a rule when it last ran in this pipeline; None if that is unknown, or it is not
            to run.
        done_after: Seconds from the start of the run until it would be done; what is unknown counts as nothing.
        ignored: Names of code that is left out of its key on purpose (`ignore=`).
        ignored_inputs: Parameters that are (`ignore_inputs=`).
        elements: Of a map over known values, how many of its elements would run, and how many are cached.
    """

    name: str
    status: str
    cached_from: str | None = None
    causes: tuple[Cause, ...] = ()
    where: str = ""
    on: str = ""
    elements: Mapping[str, int] = attrs.field(factory=dict)
    seconds: float | None = None
    done_after: float = 0.0
    ignored: tuple[str, ...] = ()
    ignored_inputs: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it would run, or may."""
        return self.status in (RUN, MAYBE)

    def lines(self) -> Iterator[str]:
        """The status, and below it what there is to say of it."""
        about = [f"about {span(self.seconds)}"] if self.seconds is not None else []
        counted = ", ".join(f"{count} {status}" for status, count in self.elements.items())
        place = f"{self.where} on {self.on}" if self.on else self.where
        yield _status(self, [*about, place]) + (f", elements: {counted}" if counted else "")
        yield from (line for cause in self.causes for line in cause.lines())
        ignored = [*self.ignored, *(f"parameter {name}" for name in self.ignored_inputs)]
        if ignored:
            yield f"ignores {', '.join(ignored)}"


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do where no step fails: all that say `run` are executed, and no others but some `maybe`."""

    pipeline: str
    stack: str
    steps: Mapping[str, StepPlan]
    upstream: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)

    @property
    def would_run(self) -> bool:
        """Whether anything runs or may run."""
        return any(step.runs for step in self.steps.values())

    @property
    def seconds(self) -> float | None:
        """How long the run would take with every step that may run; None if no such step was ever timed."""
        known = any(step.seconds is not None for step in self.steps.values())
        return max(step.done_after for step in self.steps.values()) if known else None

    def _repr_html_(self) -> str:
        """Itself in a notebook: its graph as a drawing, and why each step runs."""
        page: str = imported(f"{PAGES}:of_plan")(self)
        return page

    def __str__(self) -> str:
        lines = [f"{self.pipeline} on stack {self.stack}", *_listed(self.steps)]
        if self.seconds is not None:
            unknown = [step.name for step in self.steps.values() if step.runs and step.seconds is None]
            some = f", without {few(unknown)}: never timed" if unknown else ""
            lines.append(f"  takes about {span(self.seconds)}{some}")
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class StepExplanation:
    """Why a step of a recorded run ran, was cached (from which run), was skipped, or failed.

    Attributes:
        status: As of its `StepRun`.
        causes: As they were when it began; of code that changed with the diff.
        seconds: How long it took, or None.
    """

    name: str
    status: str
    cached_from: str | None = None
    causes: tuple[Cause, ...] = ()
    seconds: float | None = None

    def lines(self) -> Iterator[str]:
        """The status, and below it the causes."""
        yield _status(self, [span(self.seconds)] if self.seconds is not None else [])
        yield from (line for cause in self.causes for line in cause.lines())


@attrs.frozen(kw_only=True)
class Explanation:
    """Why the steps of a recorded run ran, or did not."""

    run: str
    status: str
    steps: Mapping[str, StepExplanation]

    def __str__(self) -> str:
        return "\n".join([f"{self.run}: {self.status}", *_listed(self.steps)])


@attrs.frozen(kw_only=True)
class Replay:
    """One step of a recorded run, run again on what it was given then, with the code as it is now.

    Attributes:
        changes: How that code differs from the recorded one, with diffs; none if it is the same.
        notes: Where the step takes other arguments than it did.
        outputs: What it returned now, by output name.
        recorded: What is on record for these.
        equal: Whether each is the recorded one, by digest; None where nothing is on record, or where the format of
            equal values differs each time it is written.
        metadata: What it logged.
    """

    run: str
    step: str
    changes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    recorded: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    equal: Mapping[str, bool | None] = attrs.field(factory=dict)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


def _status(step: StepPlan | StepExplanation, besides: Iterable[str]) -> str:
    source = f" from {step.cached_from}" if step.cached_from else ""
    noted = ", ".join(filter(None, besides))
    return f"{step.status}{source}{f' ({noted})' if noted else ''}"


def _listed(steps: Mapping[str, Any]) -> Iterator[str]:
    """Each step on a line, and what else it says below."""
    width = max(map(len, steps), default=0)
    for name, step in steps.items():
        status, *lines = step.lines()
        yield f"  {name:<{width}}  {status}"
        yield from (f"      {line}" for line in lines)
