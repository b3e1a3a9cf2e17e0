"""What a run was asked for, as it is recorded and restored."""

import datetime
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone import Artifact, Model, Resources, Retry, Workspace, pipeline, step
from drystone.errors import PlanError
from drystone.preparation import prepare, restored_options
from drystone.runs import Run


@step
def fit(rows: int, depth: Any = None) -> int:
    return rows


@pipeline
def training(rows: int = 3) -> Any:
    return fit(rows)


def told(run: Run) -> None:
    """Be called after a run."""


def is_odd(exception: BaseException) -> bool:
    return "odd" in str(exception)


def recorded(**options: Any) -> Any:
    """What is recorded of options, gone through JSON as in the ledger."""
    return json.loads(json.dumps(prepare(training.with_options(**options), {"rows": 3}).asked))


CACHES = st.booleans() | st.timedeltas(datetime.timedelta(0))
RETRIES = st.integers(0, 9) | st.builds(
    Retry,
    st.integers(0, 9),
    delay=st.floats(0, 9),
    when=st.sampled_from([ValueError, (KeyError, OSError), is_odd, Exception]),
)
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.dates() | st.just(Artifact("data").latest),
    lambda inside: st.lists(inside, max_size=3) | st.tuples(inside) | st.dictionaries(st.text(max_size=3), inside),
)
STEP = st.fixed_dictionaries(
    {},
    optional={
        "cache": CACHES,
        "retries": RETRIES,
        "resources": st.builds(Resources, cpus=st.integers(1, 4), memory=st.sampled_from(["1GiB", 5, None])),
        "tags": st.dictionaries(st.text(max_size=3), st.booleans() | st.text(max_size=3)),
        "on_success": st.just(told),
        "depends_on": st.sampled_from(["*.csv", fit]),
        "parameters": st.fixed_dictionaries({}, optional={"depth": VALUES, "rows": st.integers()}),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "cache": CACHES,
        "retries": RETRIES,
        "on_error": st.sampled_from(["stop", "fail_fast"]),
        "rerun": st.sampled_from(["fit", ["fit"], ("fit",)]),
        "on_failure": st.just(told),
        "model": st.sampled_from([Model("m", tags={"a": 1}), Model("m").shared]),
        "tags": st.dictionaries(st.text(max_size=3), st.booleans() | st.text(max_size=3), min_size=1),
        "steps": st.fixed_dictionaries({"fit": STEP}),
    },
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("asked")
        (folder / "pyproject.toml").touch()
        patch.chdir(folder)
        patch.delenv("DRYSTONE_WORKSPACE", raising=False)
        workspace = Workspace.current()
        for _ in range(2):
            workspace.save_artifact([1], "data")
        yield workspace
        workspace.close()


@given(options=OPTIONS)
def test_what_was_asked_for_is_restored_from_its_record(shared: Any, options: dict[str, Any]) -> None:
    assert restored_options("training-1", recorded(**options)) == dict(training.with_options(**options).asked)


def test_the_stack_and_the_debugger_are_not_among_it(workspace: Workspace) -> None:
    assert recorded(stack="default", debug=True, cache=False) == {"cache": False}


def test_what_has_no_name_to_be_imported_by_is_left_out_with_a_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    steps = {"fit": {"retries": Retry(1, when=lambda exc: True), "timeout": 5}}
    asked = recorded(cache=False, on_success=lambda run: None, steps=steps)
    with caplog.at_level(logging.WARNING):
        assert restored_options("training-7", asked) == {"cache": False, "steps": {"fit": {"timeout": 5}}}
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "retries of step 'fit' of run training-7 cannot be restored, so the run goes on without it",
        "on_success of run training-7 cannot be restored, so the run goes on without it",
    ]


def test_the_name_of_a_version_is_recorded_with_its_placeholders_filled_in(workspace: Workspace) -> None:
    asked = training.with_options(model=Model("m"), version="{date}-{rows}")
    assert prepare(asked, {"rows": 3}).asked["version"] == f"{datetime.datetime.now():%Y-%m-%d}-3"


@pytest.mark.parametrize("model", [None, Model("m").shared])
def test_a_name_for_a_version_that_is_not_made_is_refused(workspace: Workspace, model: Any) -> None:
    with pytest.raises(PlanError) as caught:
        training.with_options(version="first", model=model).plan()
    assert str(caught.value) == (
        "Pipeline 'training' makes no model version that could be named 'first': give it model=, as in "
        '@pipeline(model=Model("name")), or leave the name out.'
    )
