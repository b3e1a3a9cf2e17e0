"""A step that is annotated to get some columns of a frame gets these, and its key says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytest

from drystone import Artifact, Columns, Workspace, find_pipeline, load_artifact, pipeline, save_artifact, step
from drystone.errors import RunFailedError
from drystone.testing import memory_stack, run_step

FLOWS = """
from typing import Annotated
import pandas as pd
from drystone import Artifact, Columns, pipeline, step

@step
def features() -> Annotated[pd.DataFrame, Artifact("features")]:
    return pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": [5, 6]})

@step
def named(data: Annotated[pd.DataFrame, Columns("c", "a")]) -> list:
    return [*data.columns]

@step
def all_of(data: pd.DataFrame) -> list:
    return [*data.columns]

@pipeline
def flow():
    data = features()
    return {"named": named(data), "all": all_of(data)}
"""


@pytest.fixture
def flow(module: Callable[[str, str], Path], project: Path) -> Callable[..., Any]:
    """The pipeline, with its text changed."""
    import sys

    def load(old: str = "", new: str = "") -> Any:
        sys.modules.pop("flows", None)
        module("flows", FLOWS.replace(old, new))
        return find_pipeline("flows:flow", project)

    return load


def test_a_step_gets_the_columns_that_it_names(flow: Any, workspace: Workspace) -> None:
    run = flow()()
    assert [run.outputs[name].load() for name in ("named", "all")] == [["c", "a"], ["a", "b", "c"]]
    assert run.steps["named"].inputs["data"].name == "features"
    assert flow()().executed == 0


def test_other_columns_are_another_key_and_the_reason(flow: Any, workspace: Workspace) -> None:
    flow()()
    changed = flow('"c", "a"', '"b"')
    plan = changed.plan()
    assert [name for name, each in plan.steps.items() if each.status == "run"] == ["named"]
    assert "uses columns of data ['c', 'a'] → ['b']" in str(plan)
    assert changed().outputs["named"].load() == ["b"]


def test_a_replayed_step_gets_the_columns_as_well(flow: Any, workspace: Workspace, python: Any) -> None:
    run = flow()()
    done = python("-m", "drystone_cli", "replay", run.name, "named")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal" in done.stdout or "same" in done.stdout


def test_a_column_that_is_not_there_fails_the_step_with_those_that_are(flow: Any, workspace: Workspace) -> None:
    with pytest.raises(RunFailedError, match=r"no column 'x'\. Its columns: a, b, c"):
        flow('"c", "a"', '"x"')()


@step
def width(data: Annotated[pd.DataFrame, Columns("a")]) -> int:
    return data.shape[1]


def test_a_step_alone_gets_them_where_it_runs_as_in_a_pipeline(workspace: Workspace) -> None:
    frame = pd.DataFrame({"a": [1], "b": [2]})
    assert run_step(width, frame).output == 1
    assert width(frame) == 2, "a plain call is a plain call"


def test_parts_are_loaded_by_every_way_to_an_artifact(workspace: Workspace) -> None:
    save_artifact(pd.DataFrame({"a": range(5), "b": range(5)}), "frame")

    @step
    def loading() -> list[Any]:
        part = load_artifact("frame", columns=["b"], rows=range(1, 3))
        save_artifact(part, "own")
        return [*part.columns, *part["b"], *load_artifact("own", rows=slice(1))["b"]]

    @pipeline
    def flow():
        return loading()

    run = flow.with_options(stack=memory_stack())()
    assert run.steps["loading"].outputs["output"].load() == ["b", 1, 2, 1]
    for load in (Artifact("frame").latest.load, workspace.artifact("frame").load):
        assert [*load(columns=["a"], rows=slice(-1, None))["a"]] == [4]
    assert workspace.load_artifact("frame", columns=["b"]).shape == (5, 1)
