"""Mistakes that static type checkers must find, each with the rules under which they report it; never run."""

# pyright: standard

from promises import (
    Parts,
    announce,
    count,
    delays,
    divide,
    ended,
    finished,
    load,
    score,
    serving,
    split,
    train,
    training,
)

from drystone import Retry, Stack, pipeline, step
from drystone_local import LocalArtifactStore, LocalOrchestrator


@step
def wrong(rows: list[int]) -> int:
    return rows  # mypy: return-value, pyright: reportReturnType


@step
def keyless(rows: list[int]) -> Parts:
    return {"train": rows}  # mypy: typeddict-item, pyright: reportReturnType


@pipeline
def inside(month: int) -> int:
    rows = load("1")  # mypy: arg-type, pyright: reportArgumentType
    train(1)  # mypy: arg-type, pyright: reportArgumentType
    train(rows, dept=2)  # mypy: call-arg, pyright: reportCallIssue
    train.with_options(name="again")(1)  # mypy: arg-type, pyright: reportArgumentType
    early, label = split(rows)
    train(label)  # mypy: arg-type, pyright: reportArgumentType
    _first, _second, _third = split(rows)  # mypy: misc, pyright: reportAssignmentType
    parts = divide(rows)
    parts["trian"]  # mypy: misc, pyright: reportGeneralTypeIssues
    load(parts["test"])  # mypy: arg-type, pyright: reportArgumentType
    count({"train": early})  # mypy: typeddict-item, pyright: reportArgumentType
    count(divide)  # mypy: arg-type, pyright: reportArgumentType
    scores = score(train(rows))
    load(scores.auc)  # mypy: arg-type, pyright: reportArgumentType
    scores.acu  # mypy: attr-defined, pyright: reportAttributeAccessIssue
    training.inline("1")  # mypy: arg-type, pyright: reportArgumentType
    announce(announce(0.5))  # mypy: arg-type, pyright: reportArgumentType
    return serving.inline(rows, 2)  # mypy: call-arg, pyright: reportCallIssue


def outside() -> None:
    load("1")  # mypy: arg-type, pyright: reportArgumentType
    load()  # mypy: call-arg, pyright: reportCallIssue
    load(1, lable="a")  # mypy: call-arg, pyright: reportCallIssue
    load(1, "a")  # mypy: call-arg, pyright: reportCallIssue
    training("1")  # mypy: arg-type, pyright: reportArgumentType
    training(1, dept=2)  # mypy: call-arg, pyright: reportCallIssue
    training.plan()  # mypy: call-arg, pyright: reportCallIssue
    training.graph(month=None)  # mypy: arg-type, pyright: reportArgumentType
    training.with_options(stack="staging")("1")  # mypy: arg-type, pyright: reportArgumentType
    training(1)["model"]  # mypy: index, pyright: reportIndexIssue
    serving(delays)  # mypy: arg-type, pyright: reportArgumentType
    step(retrys=2)  # mypy: call-overload, pyright: reportCallIssue
    step(retries="2")  # mypy: call-overload, pyright: reportArgumentType
    step(retries=Retry("2"))  # mypy: arg-type, pyright: reportArgumentType
    step(on_success=ended)  # mypy: arg-type, pyright: reportArgumentType
    pipeline(on_success=finished)  # mypy: arg-type, pyright: reportArgumentType
    pipeline(model="delays")  # mypy: call-overload, pyright: reportArgumentType


here = LocalArtifactStore()
Stack("x", orchestrator=here, artifact_store=here)  # mypy: arg-type, pyright: reportArgumentType
Stack("x", orchestrator=LocalOrchestrator())  # mypy: call-arg, pyright: reportCallIssue
Stack("x", artifact_store=here, orchestrator=LocalOrchestrator(), n=1)  # mypy: arg-type, pyright: reportArgumentType
