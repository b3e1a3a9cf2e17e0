"""Documents of the index as the frozen records that users hold."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

import attrs

from drystone import fans
from drystone.artifacts import LATEST, ArtifactVersion, Manifest, Source
from drystone.documents import Document
from drystone.errors import NotFoundError, suggestion
from drystone.events import Pair
from drystone.index import Index
from drystone.models import Model, ModelRecord, ModelVersion, StageMove
from drystone.runs import CACHED, CANCELLED, CRASHED, PENDING, RUNNING, Cause, Code, FailedAttempt, Run, StepRun
from drystone.serialization import structure

T = TypeVar("T")


class Records:
    """Makes the records of one answer; each artifact version once, and each with the source to ask for more."""

    def __init__(self, index: Index, source: Source) -> None:
        self.index = index
        self._source = source
        self._versions: dict[Pair, ArtifactVersion | None] = {}

    def found_run(self, name: str) -> Run:
        """One run.

        Raises:
            NotFoundError: There is none of that name.
        """
        body = self.index.get("run", name)
        if body is None:
            raise _unknown("run", name, self.index.names("run"))
        return self.run(body)

    def found_version(self, name: str, version: int | str = LATEST) -> ArtifactVersion:
        """One version of an artifact.

        Raises:
            NotFoundError: There is none of that name or number; the message says what there is.
        """
        highest = self.index.last_number("artifact", name)
        if not highest:
            raise _unknown("artifact", name, self.index.names("artifact"))
        number = highest if version == LATEST else int(version) if str(version).isdecimal() else 0
        found = self.version(name, number)
        if found is None:
            raise NotFoundError(f"Artifact {name!r} has no version {version!r}. Its newest is {highest}.")
        return found

    def run(self, body: Document) -> Run:
        """A run, with its steps as planned; those that have not started are pending."""
        name = body["name"]
        steps = {each: StepRun(name=each, run=name, status=PENDING, source=self._source) for each in body["steps"]}
        steps |= {step["name"]: self.step(step) for step in self.index.steps(name)}
        return _record(
            Run,
            body,
            steps=steps,
            upstream={each: (*before,) for each, before in body.get("upstream", {}).items()},
            outputs=self._resolved(body.get("outputs", {})),
            model_version=self._model_version_of(body),
            code=Code(commit=body["commit"], dirty=body["dirty"]),
        )

    def _model_version_of(self, body: Document) -> ModelVersion | None:
        model, number = body.get("model_version") or (body["model"], None)
        if model is not None and number is None:  # a run that goes on, or died, has made it but not reported it
            number = self.index.version_of_run(model, body["name"])
        return self.model_version(model, number) if number is not None else None

    def cached_step(self, key: str) -> StepRun | None:
        """The step that last succeeded under a key, without its inputs: equal keys mean equal ones."""
        body = self.index.cached("step", key)
        return self.step(body | {"inputs": {}}) if body is not None else None

    def cached_element(self, key: str) -> StepRun | None:
        """The element of a map that last succeeded under a key, without its inputs."""
        body = self.index.cached("element", key)
        return self.element(body | {"inputs": {}, "parts": {}}) if body is not None else None

    def found_step(self, run: str, name: str) -> StepRun:
        """One step of a run that has begun or ended; costs the same however many steps the run has."""
        return self.step(self.index.get("step", f"{run}/{name}") or {})

    def step_at(self, run: str, address: str) -> StepRun:
        """A step of a run by its name, or an element of a map, as `sq[3]`.

        Raises:
            NotFoundError: There is none.
        """
        steps, element = self.found_run(run).steps, fans.element_address(address)
        name, place = element if element is not None and address not in steps else (address, None)
        if name not in steps:
            raise NotFoundError(f"Run {run} has no step {name!r}.{suggestion(name, steps, 'Its steps')}")
        if place is None:
            return steps[name]
        body, count = self.index.get("element", f"{run}/{address}"), sum(steps[name].counts.values())
        if place >= count:
            has = f"its elements are {name}[0] to {name}[{count - 1}]" if count else "it has no elements"
            raise NotFoundError(f"Step {name!r} of run {run} has no element {place}: {has}.")
        return self.element(body, steps[name]) if body is not None else self.elements(run, name)[place]

    def body_at(self, run: str, address: str) -> Document | None:
        """What is on record of a step, or of an element with what it has in common with the others of its map."""
        element, found = fans.element_address(address), self.index.get("step", f"{run}/{address}")
        body = self.index.get("element", f"{run}/{address}") if element is not None and found is None else None
        if element is None or body is None:
            return found
        whole, own = self.index.get("step", f"{run}/{element[0]}") or {}, {*body["values"], *body["input_digests"]}
        kinds = ("parameters", "values", "inputs", "input_digests")
        return body | {kind: {**_without(own, whole.get(kind, {})), **body[kind]} for kind in kinds}

    def elements(self, run: str, step: str) -> list[StepRun]:
        """The elements of a map, also those that have not ended, and of a cached one those that it stands for."""
        body = self.index.get("step", f"{run}/{step}") or {}
        if body.get("cached_step"):
            source = (body["cached_from"], body["cached_step"])
            said = {"run": run, "status": CACHED, "cached_from": source[0], "attempts": 0}
            found = enumerate(self.elements(*source))
            return [attrs.evolve(each, name=fans.element_name(step, place), **said) for place, each in found]
        whole = self.step(body)
        ended = {each["index"]: each for each in self.index.elements(run, step)}
        return [
            self.element(ended[place], whole) if place in ended else self._unfinished(whole, place)
            for place in range(sum(whole.counts.values()))
        ]

    def element(self, body: Document, whole: StepRun | None = None) -> StepRun:
        """An element of a map; with the map, also what its elements have in common."""
        own = {*body["values"], *body["input_digests"]}
        parameters, inputs, made = (whole.parameters, whole.inputs, whole.outputs) if whole else ({}, {}, {})
        parts = {name: self._part(inputs[name], place, part) for name, (place, part) in body["parts"].items()}
        return self._step(
            body,
            parameters={**_without(own, parameters), **body["parameters"]},
            inputs={**_without(own, inputs), **self._resolved(body["inputs"]), **parts},
            outputs={name: self._made(made.get(name), name, part, body) for name, part in body["outputs"].items()},
        )

    def _made(self, whole: ArtifactVersion | None, name: str, manifest: Document, body: Document) -> ArtifactVersion:
        """An output of an element as if it were a version of its own; 0 as long as the map has made no list."""
        step = body["name"].rpartition("[")[0]
        return ArtifactVersion(
            name=fans.element_name(
                whole.name if whole else ".".join([step, *[name] * (name != "output")]), body["index"]
            ),
            version=whole.version if whole else 0,
            kind=PART,
            manifest=structure(manifest, Manifest),
            metadata=body["noted"].get(name, {}),
            created_at=datetime.datetime.fromisoformat(body["ended_at"]),
            produced_by=(body["run"], body["name"]),
            source=self._source,
        )

    def _part(self, whole: ArtifactVersion, place: int, manifest: Document) -> ArtifactVersion:
        """A part of a list as if it were a version of its own, called by its place in the list."""
        name, part = fans.element_name(whole.name, place), structure(manifest, Manifest)
        return attrs.evolve(whole, name=name, kind=PART, manifest=part, metadata={}, tags={})

    @staticmethod
    def _unfinished(whole: StepRun, place: int) -> StepRun:
        status = _UNFINISHED.get(whole.status, CANCELLED)
        return StepRun(name=fans.element_name(whole.name, place), run=whole.run, status=status)

    def step(self, body: Document) -> StepRun:
        """A step of a run."""
        inputs, outputs = self._resolved(body.get("inputs", {})), self._resolved(body.get("outputs", {}))
        return self._step(body, inputs=inputs, outputs=outputs, counts=self._counts(body))

    def _counts(self, body: Document) -> Mapping[str, int]:
        """How many elements of a map have which status; what is not on record is as the map is."""
        if body.get("counts") or body.get("elements") is None:
            return cast("Mapping[str, int]", body.get("counts", {}))
        counts = self.index.counts(body["run"], body["name"])
        missing = body["elements"] - sum(counts.values())
        status = _UNFINISHED.get(body["status"], CANCELLED)
        return counts | ({status: counts.get(status, 0) + missing} if missing else {})

    def _step(self, body: Document, **given: Any) -> StepRun:
        dynamic = {name: pair for name, (*pair, _) in body.get("dynamic_inputs", {}).items()}
        failed = [_record(FailedAttempt, each) for each in body.get("failed_attempts", ())]
        return _record(
            StepRun,
            body,
            **given,
            dynamic_inputs=self._resolved(dynamic),
            failed_attempts=tuple(failed),
            causes=tuple(Cause(kind, text, name=name) for kind, text, name in body.get("causes", ())),
            source=self._source,
        )

    def version(self, name: str, version: int) -> ArtifactVersion | None:
        """An artifact version, if it exists."""
        pair = (name, version)
        if pair not in self._versions:
            body = self.index.get("artifact", f"{name}@{version}")
            self._versions[pair] = self.artifact(body) if body else None
        return self._versions[pair]

    def artifact(self, body: Document) -> ArtifactVersion:
        """An artifact version."""
        made, manifest = body["produced_by"], structure(body["manifest"], Manifest)
        produced_by = (made[0], made[1]) if made else None
        return _record(ArtifactVersion, body, manifest=manifest, produced_by=produced_by, source=self._source)

    def _resolved(self, pairs: Mapping[str, Any]) -> dict[str, ArtifactVersion]:
        found = {place: self.version(name, version) for place, (name, version) in pairs.items()}
        return {place: version for place, version in found.items() if version is not None}

    def model(self, body: Document) -> ModelRecord:
        """A model."""
        versions = self.index.last_number("model_version", body["name"])
        latest = self.index.select_version(body["name"], LATEST)
        return _record(ModelRecord, body, versions=versions, latest=latest)

    def model_version(self, model: str, number: int) -> ModelVersion:
        """A version of a model, which must exist."""
        body = self.index.get("model_version", f"{model}@{number}") or {}
        stages = tuple(stage for stage, holder in self.index.stages(model).items() if holder == number)
        links = self.index.linked(model, number)
        ended = sorted((commit, name) for role, name, commit in links if role == "run")
        runs = [body["run"], *(name for _, name in ended)]
        return _record(
            ModelVersion,
            body,
            status=self.index.version_status(model, number),
            stages=stages,
            archived=body.get("held", False) and not stages,
            artifacts=self._resolved({name: (name, version) for role, name, version in links if role == "output"}),
            inputs=self._resolved({name: (name, version) for role, name, version in links if role == "input"}),
            runs=tuple(dict.fromkeys(run for run in runs if run)),
            source=self._source,
        )

    def moves(self, model: str, stage: str | None) -> list[StageMove]:
        """The moves of a model's stages."""
        return [_record(StageMove, move) for move in self.index.moves(model, stage)]


PART = "part"
"""The kind of what stands for a part of a list."""

_UNFINISHED = {PENDING: PENDING, RUNNING: PENDING, CRASHED: CRASHED}
"""By the status of a map, that of elements that have not ended; under any other one they are cancelled."""


def _without(own: Collection[str], facts: Mapping[str, T]) -> dict[str, T]:
    """Facts by parameter, or by a place in one as `x[0]`, without those that an element has of its own."""
    return {place: fact for place, fact in facts.items() if place.partition("[")[0] not in own}


TIMES = ("at", "created_at", "started_at", "ended_at")


def _record(cls: type[T], body: Document, **given: Any) -> T:
    """A record whose fields are those of a document, but for the given ones."""
    known = {name: body[name] for name in attrs.fields_dict(cast(Any, cls)) if name in body}
    known |= {name: datetime.datetime.fromisoformat(known[name]) for name in TIMES if known.get(name)}
    return cls(**(known | given))


def _unknown(kind: str, name: str, known: list[str]) -> NotFoundError:
    """The error for an unknown name, with what is near it, or else some that exist."""
    near = difflib.get_close_matches(name, known, n=5) or known[:10]
    return NotFoundError(f"There is no {kind} named {name!r} in this workspace.{suggestion(name, near, 'There are')}")


_ADDRESSES: dict[type, Callable[[Any], tuple[str, str]]] = {
    Run: lambda run: ("run", run.name),
    StepRun: lambda step: ("element" if fans.element_address(step.name) else "step", f"{step.run}/{step.name}"),
    ArtifactVersion: lambda version: ("artifact", str(version)),
    ModelVersion: lambda version: ("model_version", str(version)),
    ModelRecord: lambda model: ("model", model.name),
    Model: lambda model: ("model", model.name),
}


def address_of(record: object) -> tuple[str, str]:
    """What the ledger calls a record: its kind and its name."""
    if type(record) not in _ADDRESSES:
        kinds = ", ".join(kind.__name__ for kind in _ADDRESSES)
        raise TypeError(f"A {type(record).__name__} has no tags or metadata here. What has: {kinds}.")
    return _ADDRESSES[type(record)](record)
