"""What static type-checkers must see; never run. Each `ignore` is a mistake that they must find, or else complain."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, NamedTuple, assert_type

from drystone import Artifact, ArtifactVersion, Model, Plan, Run, StepRun, get_context, pipeline, step

delays = Model("delays")


class Scores(NamedTuple):
    auc: float
    loss: float


@step
def load(month: int, *, label: str = "raw") -> Annotated[list[int], Artifact("rows")]:
    return [month]


@step(name="fit", retries=2, cache=timedelta(days=1), timeout=60, tags={"team": "ops"})
def train(rows: list[int], depth: int = 8) -> dict[str, float]:
    return {}


@step
def split(rows: list[int]) -> tuple[list[int], str]:
    return rows, ""


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


@pipeline(model=delays, on_error="stop", retries=1)
def training(month: int, depth: int = 8) -> dict[str, float]:
    rows = features.inline(month)
    assert_type(rows, list[int])
    early, label = split(rows)
    assert_type(early, list[int])
    assert_type(label, str)
    scores = score(train(early, depth=depth))
    assert_type(scores, Scores)
    assert_type(announce.with_options(after=early, when=worthwhile(rows))(scores.auc), None)
    return train.with_options(name="again", cache=False)(rows)


def finished(step_run: StepRun) -> None:
    assert_type(step_run.outputs["rows"], ArtifactVersion)


def ended(run: Run) -> None:
    assert_type(run.steps["fit"], StepRun)


def outside() -> None:
    """Steps are their functions, pipelines give runs and plans."""
    function: Callable[[list[int], int], dict[str, float]] = train.fn
    assert_type(function([1], 2), dict[str, float])
    assert_type(load(1, label="a"), list[int])
    assert_type(train([1]), dict[str, float])
    assert_type(training(1), Run)
    assert_type(training(month=1, depth=2), Run)
    assert_type(training.plan(1), Plan)
    assert_type(training.plan(1).would_run, bool)
    assert_type(training.with_options(stack="staging", cache=False)(1), Run)
    assert_type(training.with_options(rerun="fit").plan(1), Plan)
    assert_type(training.inline(1), dict[str, float])
    assert_type(training(1).output, ArtifactVersion)
    assert_type(get_context().step, str)
    step(on_success=finished, on_failure=finished)(train.fn)
    pipeline(on_success=ended)(training.fn)


def mistakes() -> None:
    """A type-checker that does not see one of them reports its `ignore` as unused."""
    load("1")  # type: ignore[arg-type]
    load()  # type: ignore[call-arg]
    load(1, lable="a")  # type: ignore[call-arg]
    train.with_options(name="again")(1)  # type: ignore[arg-type]
    training("1")  # type: ignore[arg-type]
    training(1, dept=2)  # type: ignore[call-arg]
    training.plan()  # type: ignore[call-arg]
    training.inline("1")  # type: ignore[arg-type]
    training.with_options(stack="staging")("1")  # type: ignore[arg-type]
    step(retrys=2)  # type: ignore[call-overload]
    pipeline(on_success=finished)  # type: ignore[arg-type]
