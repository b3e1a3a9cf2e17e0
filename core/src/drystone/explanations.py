"""Explanations: why the steps of a recorded run ran, or did not, with what has changed since the run before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from drystone.comparisons import code_changes, recorded_text
from drystone.documents import Document
from drystone.events import Pair
from drystone.fans import element_address
from drystone.records import Records
from drystone.runs import FAILED, Cause, Explanation, Run, StepExplanation, StepRun, of_step, origins_of


def explanation(records: Records, run: Run, step: str | None) -> Explanation:
    """Why the steps of a run, or one of them, became what they are.

    Raises:
        NotFoundError: The run has no such step.
    """
    explainer = Explainer(records, run)
    wanted = run.steps if step is None else {step: _found(records, run, step)}
    steps = {name: explainer.step(each) for name, each in wanted.items()}
    return Explanation(run=run.name, status=run.status, steps=steps)


def _found(records: Records, run: Run, step: str) -> StepRun:
    """A step by its name, or an element of a map, which ran for what the map did."""
    found, element = records.step_at(run.name, step), element_address(step)
    if element is None or not found.attempts:
        return found
    return attrs.evolve(found, causes=run.steps[element[0]].causes)


class Explainer:
    """Explains the steps of one run from what is on record of it and of the runs that it was compared with."""

    def __init__(self, records: Records, run: Run) -> None:
        self._index = records.index
        self._run = run.name
        self._bodies = {body["name"]: body for body in self._index.steps(run.name)}
        self._origins: dict[str, tuple[Cause, ...]] = {}
        for name, body in self._bodies.items():  # in the order they began, so what made an input is known by then
            self._origins[name] = self._comes_from(run.steps[name], body)

    def step(self, step: StepRun) -> StepExplanation:
        """Why a step became what it is."""
        node, _ = element_address(step.name) or (step.name, 0)
        body = self._bodies.get(node, {})
        diffs = {cause.text: cause.diff for cause in self._code(body)}
        causes = [attrs.evolve(each, diff=diffs.get(each.text), causes=self._of(each, body)) for each in step.causes]
        if step.error and not step.cached_from:
            last = step.error.rstrip().rpartition("\n")[2]
            causes.append(Cause("error", last) if step.status == FAILED else Cause("condition", step.error))
        return StepExplanation(
            name=step.name,
            status=step.status,
            cached_from=step.cached_from,
            causes=tuple(causes),
            seconds=None if step.cached_from else step.seconds,
        )

    def _code(self, body: Document) -> Iterator[Cause]:
        """What had changed in the code of a step since the run that it was compared with, with diffs."""
        _, compared = body.get("compared_with") or (None, None)
        before, now = (self._index.get("code", each) if each else None for each in (compared, body.get("closure")))
        if before and now:
            text = recorded_text(self._index)
            yield from code_changes(before, now, text, text)

    def _of(self, cause: Cause, body: Document) -> tuple[Cause, ...]:
        """What a changed input comes from: other versions, and the steps that made them in this run."""
        if cause.kind != "input":
            return ()
        run, _ = body.get("compared_with") or ("", None)
        before = _places(self._index.get("step", f"{run}/{body['name']}") or {}, cause.name)
        inputs = _places(body, cause.name)
        other = [self._version(at, before[at], pair) for at, pair in inputs.items() if before.get(at, pair) != pair]
        return (*other, *self._made(inputs))

    def _version(self, place: str, before: Pair, pair: Pair) -> Cause:
        run, _ = self._producer(pair)
        maker = f", made by {run}" if run not in (None, self._run) else ""
        return Cause("input", f"{place} {before[0]}@{before[1]} → {pair[0]}@{pair[1]}{maker}", name=place)

    def _producer(self, pair: Pair) -> tuple[str | None, str | None]:
        made = (self._index.get("artifact", f"{pair[0]}@{pair[1]}") or {}).get("produced_by")
        return made or (None, None)

    def _made(self, inputs: Mapping[str, Pair]) -> tuple[Cause, ...]:
        """The steps of this run that inputs come from in the end."""
        makers = [step for run, step in map(self._producer, inputs.values()) if run == self._run]
        return origins_of(cause for step in makers for cause in self._origins.get(step or "", ()))

    def _comes_from(self, step: StepRun, body: Document) -> tuple[Cause, ...]:
        """The steps of this run that a step ran for: itself if it had causes of its own, else some before it."""
        own = [cause for cause in step.causes if cause.kind != "input"]
        if own:
            return (of_step(step.name, "ran", own),)
        return origins_of(each for cause in step.causes for each in self._made(_places(body, cause.name)))


def _places(body: Document, name: str) -> dict[str, Pair]:
    """The artifact versions that a parameter held: itself, or the items of its list."""
    inputs: dict[str, Pair] = body.get("inputs", {})
    return {place: pair for place, pair in inputs.items() if place == name or place.startswith(f"{name}[")}
