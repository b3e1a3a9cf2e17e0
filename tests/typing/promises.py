"""What static type checkers must see, and what they must let pass; never run."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, NamedTuple, TypedDict, TypeVar, assert_type

from drystone import Artifact, ArtifactVersion, Model, Plan, Run, StepRun, get_context, pipeline, step, unmapped
from drystone.graphs import Graph

delays = Model("delays")


T = TypeVar("T")


class Scores(NamedTuple):
    auc: float
    loss: float


class Parts(TypedDict):
    train: Annotated[list[int], Artifact("train_rows")]
    test: list[int]


@step
def load(month: int, *, label: str = "raw") -> Annotated[list[int], Artifact("rows")]:
    return [month]


@step(name="fit", retries=2, cache=timedelta(days=1), timeout=60, on="big", tags={"team": "ops"})
def train(rows: list[int], depth: int = 8) -> dict[str, float]:
    return {}


@step
def split(rows: list[int]) -> tuple[list[int], str]:
    return rows, ""


@step
def divide(rows: list[int], share: float = 0.8) -> Parts:
    return {"train": rows, "test": rows}


@step
def count(parts: Parts) -> int:
    return len(parts["train"])


@step
def first(values: list[T]) -> T:
    return values[0]


@step
def score(model: dict[str, float]) -> Scores:
    return Scores(0.5, 0.5)


@step
def announce(score: float) -> None: ...


@step
def worthwhile(rows: list[int]) -> bool:
    return bool(rows)


@pipeline
def features(month: int) -> list[int]:
    rows = load(month)
    assert_type(rows, list[int])
    return rows


@pipeline
def serving(rows: list[int]) -> int:
    return count(divide(rows))


@pipeline(model=delays, on_error="stop", retries=1)
def training(month: int, depth: int = 8) -> dict[str, float]:
    rows = features.inline(month)
    assert_type(rows, list[int])
    early, label = split(rows)
    assert_type(early, list[int])
    assert_type(label, str)
    parts = divide(rows, share=0.5)
    assert_type(parts, Parts)
    assert_type(parts["train"], list[int])
    assert_type(count(parts), int)
    assert_type(count({"train": rows, "test": early}), int)
    assert_type(first([1, 2]), int)
    scores = score(train(early, depth=depth))
    assert_type(scores, Scores)
    auc, loss = scores
    assert_type((auc, loss), tuple[float, float])
    assert_type(announce.with_options(after=early, when=worthwhile(rows))(scores.auc), None)
    assert_type(train.map([early, rows], depth=unmapped(3)), list[dict[str, float]])
    assert_type(train.with_options(retries=1).product([rows], depth=[1, 2]), list[dict[str, float]])
    assert_type(split.map([rows]), tuple[list[list[int]], list[str]])
    assert_type(unmapped(depth), int)
    return train.with_options(name="again", cache=False)(rows)


def finished(step_run: StepRun) -> None:
    assert_type(step_run.outputs["rows"], ArtifactVersion)


def ended(run: Run) -> None:
    assert_type(run.steps["fit"], StepRun)


def stored(version: ArtifactVersion) -> None:
    """What is stored may stand for what is kept in it."""
    assert_type(train(delays.artifact("rows")), dict[str, float])
    assert_type(train(Artifact("rows").latest, depth=2), dict[str, float])
    assert_type(train(delays.version("production").artifact("rows")), dict[str, float])
    assert_type(train(version), dict[str, float])
    assert_type(serving(version), Run)
    assert_type(version.version, int)


def outside() -> None:
    """Steps are their functions, pipelines give runs and plans."""
    function: Callable[[list[int], int], dict[str, float]] = train.fn
    assert_type(function([1], 2), dict[str, float])
    assert_type(load(1, label="a"), list[int])
    assert_type(train([1]), dict[str, float])
    assert_type(training(1), Run)
    assert_type(training(month=1, depth=2), Run)
    assert_type(training.plan(1), Plan)
    assert_type(training.graph(month=1), Graph)
    assert_type(training.plan(1).would_run, bool)
    assert_type(training.with_options(stack="staging", cache=False)(1), Run)
    assert_type(training.with_options(rerun="fit").plan(1), Plan)
    assert_type(training.inline(1), dict[str, float])
    assert_type(training(1).output, ArtifactVersion)
    assert_type(get_context().step, str)
    step(on_success=finished, on_failure=finished)(train.fn)
    pipeline(on_success=ended)(training.fn)
