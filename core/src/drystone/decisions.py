"""What is decided on a view: versions made by hand, stages moved between versions, runs that crashed. All pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from drystone.artifacts import LATEST
from drystone.documents import Document
from drystone.errors import NotFoundError, RunLostError, StageError, suggestion
from drystone.events import Event, ModelVersionCreated, Pair, RunFinished, StageMoved, StepFinished
from drystone.index import Index
from drystone.models import COMMON_STAGES
from drystone.runs import CACHED, CRASHED, FAILED, RUNNING, SUCCEEDED
from drystone.stores import is_shared

ANYONE: Any = object()
"""Stands for `expect` not being given: whoever holds the stage may lose it."""

RESERVED = (LATEST, "shared", "archived")
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def number_of(view: Index, model: str, selector: int | str) -> int:
    """The version that a number, a name, a stage or `latest` means now.

    Raises:
        NotFoundError: There is none; the message says what there is.
    """
    number = view.select_version(model, selector)
    if number is not None:
        return number
    last = view.last_number("model_version", model)
    if view.get("model", model) is None:
        text = f"There is no model {model!r} in this workspace. Run a pipeline with model=Model({model!r}) to make one."
    elif last == 0:
        text = f"Model {model!r} has no versions yet. A run of a pipeline with model=Model({model!r}) makes one."
    elif selector == LATEST:
        text = f"Model {model!r} has {last} versions, but none from a run that succeeded."
    else:
        hint = suggestion(str(selector), view.stages(model), f"It has versions 1 to {last}; stages held")
        text = f"Model {model!r} has no version, name or stage {selector!r}.{hint}"
    raise NotFoundError(text)


def created(view: Index, model: str, name: str | None, tags: Any) -> list[ModelVersionCreated]:
    """A new version made by hand."""
    check_version_name(view, model, name)
    return [ModelVersionCreated(model=model, number=view.next_number("model_version", model), name=name, tags=tags)]


def check_version_name(view: Index, model: str, name: str | None) -> None:
    """Refuse a version's name that would be mistaken for something else.

    Raises:
        StageError: It is a number, `latest`, a stage, or another version has it.
    """
    if name is None:
        return
    if not name or name.isdecimal() or name in {*RESERVED, *COMMON_STAGES, *_known_stages(view, model)}:
        raise StageError(
            f"{name!r} cannot be the name of a model version: numbers, stages, latest, shared and archived mean "
            "something else. Choose another, such as 'baseline'."
        )
    taken = view.select_version(model, name)
    if taken is not None:
        raise StageError(f"Version {taken} of model {model!r} is already named {name!r}. Choose another name.")


def promotion(
    view: Index,
    model: str,
    selector: int | str,
    stage: str,
    expect: int | None,
    reason: str | None,
    *,
    shared: bool = False,
) -> list[StageMoved]:
    """The move of a stage to a version; nothing if it holds the stage already.

    In a workspace that is shared, whoever uses the stage must be able to read what the version consists of.

    Raises:
        NotFoundError: There is no such version.
        StageError: Its run did not succeed, somebody else than expected holds the stage, or only some machine has its
            artifacts.
    """
    _check_stage(view, model, stage)
    number, holder = number_of(view, model, selector), view.stages(model).get(stage)
    status = view.version_status(model, number)
    if status != SUCCEEDED:
        raise StageError(
            f"{model}@{number} cannot be promoted: the run that made it is {status}. Only versions of runs that "
            "succeeded can hold a stage."
        )
    if expect is not ANYONE and expect != holder:
        raise StageError(
            f"{model}@{number} was not promoted: {stage!r} is held by {_shown(model, holder)}, not by "
            f"{_shown(model, expect)} as expected. Somebody moved it; look at stage_history and decide again."
        )
    if holder == number:
        return []
    if shared:
        _check_within_reach(view, model, number)
    return [StageMoved(model=model, stage=stage, number=number, previous=holder, action="promote", reason=reason)]


def _check_within_reach(view: Index, model: str, number: int) -> None:
    """Check that of everything a version consists of a store has a copy that others can reach."""
    made = [f"{name}@{version}" for role, name, version in view.linked(model, number) if role == "output"]
    manifests = {each: (view.get("artifact", each) or {}).get("manifest") for each in made}
    away = [
        each
        for each, manifest in manifests.items()
        if manifest and not any(map(is_shared, (manifest["store"], *manifest.get("copies", ()))))
    ]
    if away:
        raise StageError(
            f"{model}@{number} cannot be promoted: nobody else could read {', '.join(away)}, which only a store of one "
            f"machine holds. Copy them from there to a store that others reach, and promote then: "
            f"drystone artifacts push {' '.join(away)} --to STACK"
        )


def rollback(view: Index, model: str, stage: str, reason: str | None) -> list[StageMoved]:
    """The move of a stage back to who held it before the last promotion that is not yet rolled back.

    Raises:
        StageError: There is none to go back to.
    """
    before: list[int | None] = []
    for move in view.moves(model, stage):
        if move["action"] == "promote":
            before.append(move["previous"])
        elif before:
            before.pop()
    if not before or before[-1] is None:
        held = "was held by nobody before" if before else "was never promoted to, or all of it is rolled back"
        raise StageError(f"Stage {stage!r} of model {model!r} cannot be rolled back: it {held}.")
    holder = view.stages(model).get(stage)
    return [StageMoved(model=model, stage=stage, number=before[-1], previous=holder, action="rollback", reason=reason)]


def _check_stage(view: Index, model: str, stage: str) -> None:
    if not _STAGE.fullmatch(stage) or stage in RESERVED:
        raise StageError(
            f"{stage!r} is no name for a stage: use letters, digits, '_', '-' and '.', beginning with a letter, and "
            f"not {', '.join(RESERVED)}. Common ones are {' and '.join(COMMON_STAGES)}."
        )
    if stage not in _known_stages(view, model) and view.select_version(model, stage) is not None:
        raise StageError(f"A version of model {model!r} is named {stage!r}, so no stage can be called that.")


def _known_stages(view: Index, model: str) -> set[str]:
    """Every stage that a version of the model holds or has held."""
    return {move["stage"] for move in view.moves(model)}


def _shown(model: str, number: int | None) -> str:
    return "nobody" if number is None else f"{model}@{number}"


def check_driven(view: Index, run: str, epoch: int) -> None:
    """Check that a run still belongs to its driver, which knows by what epoch it drives it.

    Raises:
        RunLostError: Others took it for dead, and may have resumed it.
    """
    if view.is_driven(run, epoch):
        return
    if view.epoch(run) == epoch:
        raise RunLostError(
            f"Run {run} was taken for dead, because its driver here could not renew its lease in time, and is recorded "
            f"as {(view.get('run', run) or {}).get('status')}. This driver ends. `drystone resume {run}` goes on where "
            "it stood."
        )
    raise RunLostError(f"Run {run} was taken over by another driver, which resumed it. This one ends.")


def crash(view: Index, run: Document) -> Iterator[Event]:
    """The end of a run whose driver died: what was running is crashed, what never started stays pending."""
    for step in view.steps(run["name"]):
        if step["status"] == RUNNING:
            error = "The driver died while this step was running."
            yield StepFinished(run=run["name"], step=step["name"], status=CRASHED, error=error)
    error = (
        "Its driver died without a word: killed, out of memory, or the machine went down. "
        f"`drystone resume {run['name']}` goes on where it stood."
    )
    yield stopped(view, run, CRASHED, error)


def stopped(view: Index, run: Document, status: str, error: str) -> RunFinished:
    """The end of a run that did not get to its own: what it executed is what is on record."""
    name, model = run["name"], run["model"]
    number = view.version_of_run(model, name) if model is not None else None
    return RunFinished(
        run=name,
        status=status,
        executed=sum(_executed(view, step) for step in view.steps(name)),
        error=error,
        model_version=(model, number) if number is not None else None,
    )


def _executed(view: Index, step: Document) -> int:
    """Whether a step computed something, or how many elements of a map did."""
    if step.get("elements") is None:
        return bool(step.get("attempts")) and step["status"] != CACHED
    counts = view.counts(step["run"], step["name"])
    return counts.get(SUCCEEDED, 0) + counts.get(FAILED, 0)


def version_held(view: Index, model: str, runs: Iterable[str], pairs: set[Pair]) -> Pair | None:
    """The newest version of a model that holds what a run repeated from others, all of it."""
    numbers = {number for run in runs if (number := view.version_of_run(model, run)) is not None}
    for number in sorted(numbers, reverse=True):
        if pairs <= {(name, version) for _, name, version in view.linked(model, number)}:
            return model, number
    return None
