"""What plans, `why` and `diff` say: the causes of steps as a tree, from what is on record."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drystone import Artifact, Stack, Workspace, load_artifact, log_metadata, pipeline, step
from drystone.errors import NotFoundError, RunFailedError
from drystone.events import RunStarted, StepFinished, StepStarted
from drystone.runs import Cause, Explanation, span
from drystone_local import LocalArtifactStore, LocalOrchestrator

FLOWS = """
from typing import Annotated

from drystone import Artifact, log_metadata, pipeline, step

RATE = 10


def scaled(x):
    return x * RATE


@step
def load(rows: int) -> Annotated[list, Artifact("numbers")]:
    return list(range(rows))


@step
def fit(data: list, rate: float) -> Annotated[float, "score"]:
    log_metadata({"auc": rate})
    return scaled(sum(data) * rate)


@step
def report(score: float, data: list) -> str:
    return f"{score} of {data}"


@pipeline
def training(rows: int = 3, rate: float = 0.5):
    data = load(rows)
    return report(fit(data, rate), [data, 5])
"""


@pytest.fixture
def flows(workspace: Workspace, project: Path) -> Path:
    file = project / "flows.py"
    file.write_text(FLOWS)
    return file


@pytest.fixture
def train(flows: Path, python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., None]:
    """Runs the pipeline as it stands in the file, in an interpreter of its own."""

    def run(**parameters: Any) -> None:
        done = python("-c", f"import flows; flows.training(**{parameters!r})")
        assert done.returncode == 0, done.stderr

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def tree(causes: tuple[Cause, ...]) -> list[Any]:
    """Causes as nested texts."""
    return [[cause.text, *tree(cause.causes)] for cause in causes]


def told(explanation: Explanation) -> dict[str, list[Any]]:
    return {name: tree(each.causes) for name, each in explanation.steps.items()}


# Plans


@step
def number(n: int) -> int:
    return n


@step
def double(x: int) -> int:
    return 2 * x


@pipeline
def chained(n: int) -> Any:
    return double.with_options(name="last")(double(number(n)))


def test_a_plan_shows_under_a_step_what_it_would_run_for(workspace: Workspace) -> None:
    chained(n=1)
    plan = chained.plan(n=2)
    origin = ["number runs", ["parameter n 1 → 2"]]
    assert tree(plan.steps["double"].causes) == [["runs if the output of number changes", origin]]
    assert tree(plan.steps["last"].causes) == [["runs if the output of double changes", origin]]
    shown = str(plan).splitlines()
    assert shown[3].startswith("  double  maybe (about ")
    assert shown[3].endswith(", inline)")
    assert shown[4:7] == [
        "      runs if the output of number changes",
        "        number runs",
        "          parameter n 1 → 2",
    ]


def test_what_depends_on_a_rerun_step_says_on_which(workspace: Workspace) -> None:
    chained(n=1)
    plan = chained.with_options(rerun="number").plan(n=1)
    assert {name: tree(each.causes) for name, each in plan.steps.items()} == {
        "number": [["rerun was asked for"]],
        "double": [["depends on number, which is rerun"]],
        "last": [["depends on double, which is rerun"]],
    }


def test_a_tree_stays_small_where_many_steps_come_together(workspace: Workspace) -> None:
    @step
    def total(values: list) -> int:
        return sum(values)

    @pipeline
    def wide(start: int) -> Any:
        return total([number.with_options(name=f"n{each}")(start + each) for each in range(40)])

    wide(start=0)
    plan = wide.plan(start=100)
    (cause,) = plan.steps["total"].causes
    assert [each.text for each in cause.causes] == [*(f"n{each} runs" for each in range(5)), "and others"]


def test_a_plan_lists_what_is_ignored(workspace: Workspace) -> None:
    @step(ignore="flows.LEVEL", ignore_inputs="loud")
    def shown(n: int, loud: bool) -> int:
        return n

    @pipeline
    def showing(n: int) -> Any:
        return shown(n, True)

    plan = showing.plan(n=1)
    assert (plan.steps["shown"].ignored, plan.steps["shown"].ignored_inputs) == (("flows.LEVEL",), ("loud",))
    assert "      ignores flows.LEVEL, parameter loud\n" in f"{plan}\n"


def test_options_that_are_part_of_the_key_are_told_by_name(workspace: Workspace) -> None:
    @pipeline
    def optioned(ignored: tuple) -> Any:
        return number.with_options(ignore_inputs=ignored)(1)

    optioned(ignored=())
    (cause,) = optioned.plan(ignored=("n",)).steps["number"].causes
    assert (cause.kind, cause.name, cause.text) == ("options", "ignore_inputs", "ignore_inputs not given → ('n',)")


def history(workspace: Workspace, *spans: float, step: str = "number", begin: int = 1) -> None:
    """Puts runs on record in which a step took some seconds, or was a hit where that is 0."""
    for number, seconds in enumerate(spans, start=begin):
        run = f"chained-{number}"
        started = RunStarted(run=run, number=number, pipeline="chained", stack="default", parameters={}, steps=(step,))
        hit = {"status": "cached", "cached_from": f"chained-{number - 1}", "cached_step": step}
        begun = StepStarted(run=run, step=step, key="k")
        ended = StepFinished(run=run, step=step, key="k", **({"status": "succeeded"} if seconds else hit))
        workspace.commit(lambda view, events=[started, *([begun] if seconds else [])]: events)
        commit = workspace.commit(lambda view, event=ended: [event])
        assert commit is not None
        with workspace._database.transaction() as (_, index):
            body = index.get("step", f"{run}/{step}")
            if seconds and body:
                at = datetime.datetime.fromisoformat(body["started_at"]) + datetime.timedelta(seconds=seconds)
                index.put("step", f"{run}/{step}", body | {"ended_at": at.isoformat()})


def test_durations_are_the_median_of_the_last_executions(workspace: Workspace) -> None:
    history(workspace, 500.0, 1.0, 9.0, 2.0, 3.0, 4.0)
    plan = chained.plan(n=1)
    assert plan.steps["number"].seconds == pytest.approx(3.0)
    assert plan.steps["double"].seconds is None
    assert plan.seconds == pytest.approx(3.0)
    assert "  takes about 3.0 s, without double, last: never timed" in str(plan)


def test_hits_lead_to_the_execution_that_was_timed(workspace: Workspace) -> None:
    history(workspace, 7.0, 0, 0)
    with workspace.reading() as records:
        assert records.index.durations("chained", "number") == [pytest.approx(7.0)]


def test_a_plan_of_a_pipeline_that_never_ran_knows_no_time(workspace: Workspace) -> None:
    plan = chained.plan(n=1)
    assert plan.seconds is None
    assert "takes" not in str(plan)


def test_a_cached_plan_takes_no_time(workspace: Workspace) -> None:
    chained(n=1)
    plan = chained.plan(n=1)
    assert (plan.seconds, [each.seconds for each in plan.steps.values()]) == (None, [None] * 3)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0042, "4 ms"), (1.25, "1.2 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min")]
)
def test_spans_are_told_in_units_that_fit(seconds: float, text: str) -> None:
    assert span(seconds) == text


# Why


def test_why_tells_of_each_step_what_had_changed_when_it_ran(
    train: Callable[..., None], flows: Path, workspace: Workspace
) -> None:
    train()
    edit(flows, "return x * RATE", "return x * RATE + 1")
    edit(flows, "RATE = 10", "RATE = 11")
    train(rows=4)
    fitted = ["fit ran", ["code of flows.scaled changed"], ["flows.RATE changed: 10 → 11"]]
    loaded = ["load ran", ["parameter rows 3 → 4"]]
    found = workspace.why("training-2")
    assert told(found) == {
        "load": loaded[1:],
        "fit": [*fitted[1:], ["input data changed", ["data numbers@1 → numbers@2"], loaded]],
        "report": [
            ["input score changed", ["score score@1 → score@2"], fitted],
            ["input data changed", ["data[0] numbers@1 → numbers@2"], loaded],
        ],
    }
    diff = found.steps["fit"].causes[0].diff
    assert diff is not None
    assert "-    return x * RATE\n+    return x * RATE + 1" in diff
    assert all(cause.diff is None for cause in found.steps["report"].causes[0].causes)


def test_why_tells_the_same_after_everything_changed_again(
    train: Callable[..., None], flows: Path, workspace: Workspace
) -> None:
    train()
    edit(flows, "return x * RATE", "return x * RATE + 1")
    train()
    before = workspace.why("training-2", "fit")
    edit(flows, "return x * RATE + 1", "return x")
    train()
    workspace.rebuild()
    assert workspace.why("training-2", "fit") == before
    assert "code of flows.scaled changed" in str(before)


def test_why_tells_where_hits_are_from_why_steps_failed_and_why_they_were_skipped(workspace: Workspace) -> None:
    @step
    def breaks(x: int) -> int:
        raise ValueError("too much")

    @pipeline
    def breaking(n: int) -> Any:
        return double(breaks(number(n)))

    for _ in range(2):
        with pytest.raises(RunFailedError):
            breaking(n=1)
    found = workspace.why("breaking-2")
    assert [(each.name, each.status, each.cached_from) for each in found.steps.values()] == [
        ("number", "cached", "breaking-1"),
        ("breaks", "failed", None),
        ("double", "skipped", None),
    ]
    assert tree(found.steps["breaks"].causes) == [["never ran here"], ["ValueError: too much"]]
    assert tree(found.steps["double"].causes) == [["step 'breaks', which it depends on, was failed"]]
    assert "  number  cached from breaking-1\n" in str(found)


def test_why_names_the_run_that_made_another_version_of_an_artifact(workspace: Workspace) -> None:
    @pipeline
    def making(n: int) -> Any:
        return number(n)

    @pipeline
    def reading() -> Any:
        return double(Artifact("making.number").latest)

    making(n=1), reading(), making(n=2), reading()
    assert told(workspace.why("reading-2"))["double"] == [
        ["input x changed", ["x making.number@1 → making.number@2, made by making-2"]]
    ]


def test_why_names_what_a_step_loaded_and_would_now_find_changed(workspace: Workspace) -> None:
    @step
    def priced() -> int:
        return int(load_artifact("prices"))

    @pipeline
    def pricing() -> Any:
        return priced()

    workspace.save_artifact(1, "prices")
    pricing()
    workspace.save_artifact(2, "prices")
    pricing()
    (cause,) = workspace.why("pricing-2").steps["priced"].causes
    assert (cause.kind, cause.name, cause.text) == ("dynamic", "prices", "dynamic input prices 1 → 2")


def test_why_of_what_is_not_there_says_what_is(workspace: Workspace) -> None:
    chained(n=1)
    with pytest.raises(NotFoundError, match=r"Run chained-1 has no step 'lst'\. Did you mean 'last'\?"):
        workspace.why("chained-1", "lst")
    with pytest.raises(NotFoundError, match="There is no run named 'chained-2'"):
        workspace.why("chained-2")


def test_a_step_that_changed_in_a_hundred_places_records_a_few_of_them(workspace: Workspace) -> None:
    parameters = [f"a{each}" for each in range(30)]
    space: dict[str, Any] = {}
    exec(f"def many({', '.join(parameters)}):\n    return a0", space)
    many = step(space["many"])

    @pipeline
    def counting(start: int) -> Any:
        return many(**{name: start + each for each, name in enumerate(parameters)})

    counting(start=0)
    causes = counting(start=100).steps["many"].causes
    assert [each.text for each in causes[:2]] == ["parameter a0 0 → 100", "parameter a1 1 → 101"]
    assert [len(causes), causes[-1].text] == [21, "and 10 more"]


CALLS = st.fixed_dictionaries(
    {"n": st.integers(0, 2), "salt": st.sampled_from(["", "a"]), "loud": st.booleans()},
    optional={"rerun": st.sampled_from(["number", "double", "last"]), "cache": st.just(False)},
)


inline = Stack("i", orchestrator=LocalOrchestrator(isolation="inline"), artifact_store=LocalArtifactStore())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, min_size=2, max_size=4))
def test_why_says_afterwards_what_a_plan_was_sure_of_and_a_diff_reads_the_same_from_both_sides(
    project: Path, calls: list[dict[str, Any]]
) -> None:
    @pipeline
    def varied(n: int, salt: str, loud: bool) -> Any:
        first = number.with_options(cache_salt=salt)(n)
        return double.with_options(name="last")(double(first)), *([number.with_options(name="loud")(n)] if loud else [])

    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, {"DRYSTONE_WORKSPACE": place}):
        workspace = Workspace.current()
        runs = []
        for call in calls:
            options = {name: call.pop(name) for name in ("rerun", "cache") if name in call}
            wanted = varied.with_options(stack=inline, **options)
            plan, run = wanted.plan(**call), wanted(**call)
            why = workspace.why(run)
            for name, planned in plan.steps.items():
                if planned.status == "run":
                    assert [each.text for each in why.steps[name].causes] == [each.text for each in planned.causes]
            assert all(bool(each.causes) == (each.status == "succeeded") for each in why.steps.values())
            runs.append(run)
        for before, after in itertools.pairwise(runs):
            there, back = (
                {(each.kind, each.name, each.steps, each.before, each.after) for each in found.differences}
                for found in (workspace.diff(before, after), workspace.diff(after, before))
            )
            assert there == {(kind, name, steps, after, before) for kind, name, steps, before, after in back}
            assert not workspace.diff(after, after).differences
        workspace.close()


# Diff


def test_a_diff_tells_parameters_code_inputs_outputs_and_metadata(
    train: Callable[..., None], flows: Path, workspace: Workspace
) -> None:
    train()
    edit(flows, "return x * RATE", "return x * RATE + 1")
    train(rate=0.25)
    found = [(each.kind, each.name, each.before, each.after, each.steps) for each in told_apart(workspace)]
    assert found == [
        ("executed", "", 3, 2, ()),
        ("parameter", "rate", 0.5, 0.25, ()),
        ("status", "", "succeeded", "cached", ("load",)),
        ("code", "flows.scaled", None, None, ("fit",)),
        ("parameter", "rate", "0.5", "0.25", ("fit",)),
        ("metadata", "auc", 0.5, 0.25, ("fit",)),
        ("output", "score", "score@1", "score@2", ("fit",)),
        ("input", "score", "score@1", "score@2", ("report",)),
        ("output", "output", "training.report@1", "training.report@2", ("report",)),
    ]


def told_apart(workspace: Workspace) -> list[Any]:
    return [each for each in workspace.diff("training-1", "training-2").differences if each.kind != "duration"]


def test_equal_runs_do_not_differ(workspace: Workspace) -> None:
    chained(n=1), chained(n=1), chained(n=1)
    found = workspace.diff("chained-2", "chained-3")
    assert found.differences == ()
    assert str(found) == "chained-2 and chained-3 do not differ."


def test_a_version_with_the_same_content_is_told_as_such(workspace: Workspace) -> None:
    first, second = chained(n=1), chained.with_options(rerun="number", cache=False)(n=1)
    found = {(each.kind, each.name, each.steps): each for each in workspace.diff(first, second).differences}
    made = found["output", "output", ("number",)]
    assert made.same_content
    assert made.text == "output chained.number@1 → chained.number@2, same content"
    assert found["option", "cache", ()].text == "option cache none → False"
    assert found["option", "rerun", ()].after == "number"


def test_steps_that_only_one_run_has_and_how_steps_ended_are_told(workspace: Workspace) -> None:
    @step
    def sometimes(n: int) -> int:
        log_metadata({"n": n})
        if n > 1:
            raise ValueError("too much")
        return n

    @pipeline
    def varied(n: int) -> Any:
        return sometimes(n), *([number(n)] if n > 1 else [])

    varied(n=1)
    with pytest.raises(RunFailedError):
        varied(n=2)
    found = {(each.kind, each.steps): each.text for each in workspace.diff("varied-1", "varied-2").differences}
    assert found["status", ("number",)] == "status none → succeeded"
    assert found["status", ("sometimes",)] == "status succeeded → failed"
    assert found["error", ("sometimes",)] == "error none → ValueError: too much"
    assert found["metadata", ("sometimes",)] == "metadata n 1 → 2"
    assert found["status", ()] == "status succeeded → failed"


def test_code_that_several_steps_reach_is_told_once(
    flows: Path, workspace: Workspace, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    edit(flows, 'return f"{score} of {data}"', "return str(scaled(score))")
    script = "import flows; print(flows.training().name)"
    python("-c", script)
    edit(flows, "return x * RATE", "return x * RATE * 2")
    python("-c", script)
    code = [each for each in workspace.diff("training-1", "training-2").differences if each.kind == "code"]
    assert [(each.name, each.steps) for each in code] == [("flows.scaled", ("fit", "report"))]
    assert "  fit, report\n" in str(workspace.diff("training-1", "training-2"))


def test_plans_and_reasons_are_plain_json(
    flows: Path, workspace: Workspace, train: Callable[..., None], command: Callable[..., Any]
) -> None:
    train()
    planned = command("plan", "flows:training", "--param", "rate=0.25", "--json")
    assert planned.code == 2
    assert [set(each) for each in planned.records] == [PLANNED] * 3
    explained = command("why", "training-1", "--json")
    assert [set(each) for each in explained.records] == [EXPLAINED] * 3
    assert json.loads(explained.out)[0]["causes"] == [
        {"kind": "new", "text": "never ran here", "diff": None, "name": "", "causes": []}
    ]


PLANNED = {
    *("name", "status", "cached_from", "causes", "where", "seconds", "done_after", "ignored", "ignored_inputs"),
    *("elements", "on"),
}
EXPLAINED = {"name", "status", "cached_from", "causes", "seconds"}
