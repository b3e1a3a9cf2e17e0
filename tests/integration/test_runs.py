"""Pipelines on the default stack: what a run computes, records and takes from the cache."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from drystone import Artifact, Model, Workspace, get_context, log_metadata, pipeline, save_artifact, step
from drystone.errors import OutputError, ParameterError, PipelineDefinitionError, PlanError, RunFailedError


@step
def number(n: int) -> int:
    return n


@step
def double(x: int) -> Annotated[int, Artifact("doubled", tags={"unit": "1"})]:
    log_metadata({"input": x})
    log_metadata({"half": x}, artifact="doubled")
    return 2 * x


@step
def halves(x: int) -> tuple[Annotated[int, "left"], Annotated[int, "right"]]:
    return x // 2, x - x // 2


@pipeline
def doubling(n: int = 3):
    return double(number(n))


def test_a_run_returns_its_record_with_outputs_metadata_and_order(workspace: Workspace) -> None:
    run = doubling(n=4)
    assert (run.name, run.number, run.status, run.executed, run.stack) == ("doubling-1", 1, "succeeded", 2, "default")
    assert list(run.steps) == ["number", "double"]
    output = run.outputs["doubled"]
    assert (output.name, output.version, output.load()) == ("doubled", 1, 8)
    assert output.tags == {"unit": "1"}
    assert output.metadata["half"] == 4
    assert output.produced_by == ("doubling-1", "double")
    assert run.steps["double"].metadata == {"input": 4}
    assert run.steps["double"].inputs["x"].name == "doubling.number"
    assert run.parameters == {"n": 4}
    assert workspace.run("doubling-1") == run


def test_an_unchanged_run_is_fully_cached_and_links_the_same_versions(workspace: Workspace) -> None:
    first, second = doubling(), doubling()
    assert second.executed == 0
    assert second.status == "succeeded"
    assert {each.status for each in second.steps.values()} == {"cached"}
    assert second.steps["double"].cached_from == first.name
    assert second.outputs == first.outputs
    assert [each.version for each in workspace.artifacts(name="doubled")] == [1]


def test_early_cut_off_spares_what_depends_on_an_unchanged_result(workspace: Workspace) -> None:
    @step
    def parity(n: int) -> int:
        return n % 2

    @pipeline
    def parities(n: int):
        return double(parity(n))

    parities(n=2)
    run = parities(n=4)
    assert {name: each.status for name, each in run.steps.items()} == {"parity": "succeeded", "double": "cached"}


def test_a_step_with_several_outputs_hands_on_each(workspace: Workspace) -> None:
    @pipeline
    def split(n: int):
        left, right = halves(n)
        return double(right), left

    run = split(n=5)
    assert run.outputs["doubled"].load() == 6
    assert run.outputs["left"].load() == 2


def test_lists_and_dicts_of_outputs_are_assembled(workspace: Workspace) -> None:
    @step
    def total(values: list[int], named: dict[str, int]) -> int:
        return sum(values) + named["a"]

    @pipeline
    def summing():
        one, two = number(1), number(2)
        return total([one, two, 10], {"a": one})

    run = summing()
    assert run.output.load() == 14
    assert list(run.steps) == ["number", "number_2", "total"]


def test_a_failed_step_fails_the_run_and_skips_what_depends_on_it(workspace: Workspace) -> None:
    @step
    def broken(x: int) -> int:
        raise ValueError("no luck")

    @pipeline
    def failing():
        start = number(1)
        double(start)
        return double(broken(start))

    with pytest.raises(RunFailedError, match=r"Run failing-1 failed: step 'broken' raised ValueError: no luck") as info:
        failing()
    assert isinstance(info.value.__cause__, ValueError)
    run = info.value.run
    assert run.status == "failed"
    statuses = {name: each.status for name, each in run.steps.items()}
    assert statuses == {"number": "succeeded", "double": "succeeded", "broken": "failed", "double_2": "skipped"}
    assert "no luck" in run.steps["broken"].error
    assert "raise ValueError" in run.steps["broken"].logs()


def test_a_wrong_type_fails_the_step_and_stores_nothing(workspace: Workspace) -> None:
    @step
    def liar() -> int:
        return "three"  # type: ignore[return-value]

    @pipeline
    def lying():
        return liar()

    with pytest.raises(RunFailedError) as info:
        lying()
    assert isinstance(info.value.__cause__, OutputError)
    assert "Output 'output' of step 'liar' is annotated int, but is str." in str(info.value.__cause__)
    assert workspace.artifacts(name="lying.liar") == []


def test_what_a_step_prints_and_logs_is_kept_and_passed_on(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    @step
    def chatty() -> int:
        print("from print")
        os.write(1, b"from a descriptor\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        logging.getLogger("chatty").warning("from logging")
        return 1

    @pipeline
    def chatting():
        return chatty()

    log = chatting().steps["chatty"].logs()
    for line in ("from print", "from a descriptor", "from a child"):
        assert line in log
    assert "from print" in capfd.readouterr().out


def test_a_step_that_exits_or_moves_about_does_neither_to_the_driver(workspace: Workspace, project: Path) -> None:
    @step
    def vandal() -> None:
        os.chdir("/")
        os.environ["DRYSTONE_VANDAL"] = "1"
        sys.exit(3)

    @pipeline
    def vandalism():
        vandal()

    with pytest.raises(RunFailedError, match="SystemExit: exited with 3"):
        vandalism()
    assert Path.cwd() == project
    assert "DRYSTONE_VANDAL" not in os.environ


def test_retries_try_again_and_count_their_attempts(workspace: Workspace, tmp_path: Path) -> None:
    marker = tmp_path / "tried"

    @step(retries=2, cache=False)
    def flaky(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        if get_context().attempt < 3:
            raise OSError("again")
        return get_context().attempt

    from drystone import Retry

    patient = flaky.with_options(retries=Retry(2, delay=0))

    @pipeline
    def trying(path: str):
        return patient(path)

    run = trying(path=str(marker))
    assert run.steps["flaky"].attempts == 3
    assert run.output.load() == 3
    assert marker.read_text() == "xxx"


def test_a_false_condition_skips_a_step_and_what_depends_on_it(workspace: Workspace) -> None:
    @step
    def is_even(n: int) -> bool:
        return n % 2 == 0

    @pipeline
    def conditional(n: int):
        start = number(n)
        return double(number.with_options(name="guarded", when=is_even(start))(start))

    statuses = {name: each.status for name, each in conditional(n=3).steps.items()}
    assert statuses == {"number": "succeeded", "is_even": "succeeded", "guarded": "skipped", "double": "skipped"}
    assert conditional(n=4).steps["double"].status == "succeeded"


def test_hooks_run_after_the_commit_and_their_errors_change_nothing(workspace: Workspace) -> None:
    seen: list[tuple[str, int]] = []

    def promote(run) -> None:
        seen.append((run.status, workspace.artifact("doubled").version))
        raise RuntimeError("hook trouble")

    @pipeline(on_success=promote)
    def hooked():
        return double(number(9))

    run = hooked()
    assert seen == [("succeeded", 1)]
    assert run.status == "succeeded"
    assert "hook trouble" in run.metadata["hook_errors"][0]


def test_cache_off_and_rerun_compute_again(workspace: Workspace) -> None:
    doubling()
    assert doubling.with_options(cache=False)().executed == 2
    run = doubling.with_options(rerun="double")()
    assert {name: each.status for name, each in run.steps.items()} == {"number": "cached", "double": "succeeded"}
    with pytest.raises(PlanError, match=r"no step 'duoble' to rerun. Did you mean 'double'"):
        doubling.with_options(rerun="duoble")()


def test_bad_parameters_are_all_reported_and_nothing_runs(workspace: Workspace) -> None:
    with pytest.raises(ParameterError, match=r"has no parameter 'm'. Its parameters: n\."):
        doubling(m=1)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match="takes 'n' as int, but is given 'x', which is str"):
        doubling(n="x")  # type: ignore[arg-type]
    assert workspace.runs() == []


def test_a_pipeline_called_inside_another_says_inline(workspace: Workspace) -> None:
    @pipeline
    def outer():
        doubling()

    with pytest.raises(PipelineDefinitionError, match=r"Write doubling.inline\(…\)"):
        outer()

    @pipeline
    def spliced():
        return doubling.inline(2)

    assert list(spliced().steps) == ["doubling.number", "doubling.double"]


def test_a_value_that_is_no_parameter_names_the_way_out(workspace: Workspace) -> None:
    @step
    def use(x) -> int:
        return 1

    @pipeline
    def odd():
        return use(object())

    with pytest.raises(PlanError, match="save_artifact"):
        odd()


def test_artifacts_saved_in_a_step_are_committed_with_it(workspace: Workspace) -> None:
    @step
    def saving() -> int:
        save_artifact([1, 2], "side", metadata={"rows": 2})
        return 1

    @pipeline
    def side():
        return saving()

    side()
    version = workspace.artifact("side")
    assert version.load() == [1, 2]
    assert version.metadata["rows"] == 2
    assert version.produced_by == ("side-1", "saving")


def test_references_are_resolved_when_the_run_starts(workspace: Workspace) -> None:
    workspace.save_artifact(20, "base")

    @pipeline
    def referring():
        return double(Artifact("base").latest)

    run = referring()
    assert run.output.load() == 40
    assert str(run.steps["double"].inputs["x"]) == "base@1"
    assert referring().executed == 0
    workspace.save_artifact(21, "base")
    assert referring().output.load() == 42


m = Model("doubler", tags={"team": "a"}, description="doubles")


def test_training_makes_versions_and_inference_takes_production(workspace: Workspace) -> None:
    @pipeline(model=m)
    def training(n: int):
        return double(number(n))

    @step
    def predict(model: int, x: int) -> Annotated[int, "prediction"]:
        log_metadata({"served": x})
        return model * x

    production = m.version("production")

    @pipeline(model=production)
    def inference(x: int):
        return predict(production.artifact("doubled"), x)

    with pytest.raises(LookupError, match="There is no model 'doubler'"):
        inference(x=1)
    first, second = training(n=1), training(n=2)
    assert first.model_version is not None
    assert (first.model_version.number, second.model_version.number) == (1, 2)
    again = training(n=1)
    assert (again.executed, again.model_version.number) == (0, 1)
    assert [each.number for each in workspace.model_versions("doubler")] == [2, 1]

    with pytest.raises(LookupError, match="production"):
        inference(x=1)
    workspace.promote("doubler", 1, "production")
    run = inference(x=10)
    assert run.output.load() == 20
    assert run.model_version.number == 1
    version = workspace.model_version("doubler", "production")
    assert version.metadata == {"input": 1, "served": 10}
    assert set(version.artifacts) == {"doubling.number", "doubled", "prediction"} or "prediction" in version.artifacts
    workspace.promote("doubler", 2, "production")
    assert workspace.model_version("doubler", 1).archived
    workspace.rollback("doubler", "production")
    assert workspace.model_version("doubler", "production").number == 1
    assert [each.action for each in workspace.stage_history("doubler", "production")].count("promote") == 2


def test_a_shared_pipeline_serves_the_model_without_making_versions(workspace: Workspace) -> None:
    @pipeline(model=m.shared)
    def features(n: int):
        return double(number(n))

    @pipeline(model=m)
    def training():
        return number(m.artifact("doubled"))

    features(n=1)
    assert workspace.model_versions("doubler") == []
    run = training()
    assert run.output.load() == 2
    assert str(run.model_version.inputs["doubled"]) == "doubled@1"


RESUMED = """
import os, sys
from drystone import Model, Workspace, log_metadata, pipeline, step
from drystone.errors import RunFailedError

@step
def fit(n: int) -> int:
    log_metadata({"auc": n})
    return n

@step
def check(fitted: int) -> str:
    if not os.path.exists("go"):
        raise ValueError("not yet")
    return str(fitted)

@pipeline(model=Model("m"))
def training(n: int = 3):
    return check(fit(n))

if __name__ == "__main__":
    try:
        training.with_options(version="first")()
    except RunFailedError:
        open("go", "w").close()
        Workspace.current().resume("training-1")
"""


def test_a_resumed_run_goes_on_with_the_model_version_that_it_made(
    project: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (project / "training.py").write_text(RESUMED)
    done = python("training.py")
    assert done.returncode == 0, done.stderr
    workspace = Workspace.current()
    (version,) = workspace.model_versions("m")
    assert (version.number, version.name, version.status, version.metadata) == (1, "first", "succeeded", {"auc": 3})
    assert set(version.artifacts) == {"training.fit", "training.check"}
    assert version.runs == ("training-1",)
    assert workspace.run("training-1").model_version == version
    workspace.close()


def test_what_code_says_of_a_model_is_recorded_when_it_changes(workspace: Workspace) -> None:
    def train(model: Model) -> None:
        @pipeline(name="declaring", model=model)
        def declaring():
            return number(1)

        declaring()

    workspace.create_model_version("m")
    train(Model("m", tags={"team": "ops"}))
    assert workspace.models()[0].tags == {"team": "ops"}
    workspace.untag(workspace.models()[0], "team")
    train(Model("m", tags={"team": "ops"}))
    assert workspace.models()[0].tags == {}, "what was taken away by hand does not come back by itself"
    train(Model("m", tags={"team": "ops", "tier": "1"}, description="Delays."))
    assert (workspace.models()[0].tags, workspace.models()[0].description) == ({"team": "ops", "tier": "1"}, "Delays.")


def test_plan_says_what_runs_and_why(workspace: Workspace) -> None:
    plan = doubling.plan(n=3)
    assert {name: each.status for name, each in plan.steps.items()} == {"number": "run", "double": "run"}
    assert plan.steps["number"].causes[0].text == "never ran here"
    doubling(n=3)
    assert not doubling.plan(n=3).would_run
    plan = doubling.plan(n=5)
    assert {name: each.status for name, each in plan.steps.items()} == {"number": "run", "double": "maybe"}
    assert plan.steps["number"].causes[0].text == "parameter n 3 → 5"


SCRIPT = """
import os, sys
from drystone import pipeline, step

@step
def first() -> int:
    return 1

@step
def second(x: int) -> int:
    if not os.path.exists("go"):
        os.kill(os.getpid(), 9)
    return x + 1

@pipeline
def dying():
    return second(first())

if __name__ == "__main__":
    print(dying().output.load())
"""


def test_a_killed_run_is_crashed_at_the_next_touch_and_resume_completes_it(
    project: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (project / "dying.py").write_text(SCRIPT)
    assert python("dying.py").returncode == -9
    look = python(
        "-c", "from drystone import Workspace as W; w = W.current(); print(w.run('dying-1').status, w.verify())"
    )
    assert look.stdout.split() == ["crashed", "[]"], look.stderr
    (project / "go").write_text("")
    resumed = python(
        "-c", "from drystone import Workspace as W; r = W.current().resume('dying-1'); print(r.status, r.output.load())"
    )
    assert resumed.stdout.split() == ["succeeded", "2"], resumed.stderr
    again = python("dying.py")
    assert again.stdout.split() == ["2"]


TEN = """
import sys
from drystone import pipeline, step

@step(cache=False)
def grow(x: int) -> int:
    return x + 1

@pipeline
def ten(start: int):
    for _ in range(10):
        start = grow(start)
    return start

if __name__ == "__main__":
    print(ten(start=int(sys.argv[1])).output.load())
"""


def test_eight_processes_share_one_workspace(project: Path) -> None:
    (project / "ten.py").write_text(TEN)
    started = [
        subprocess.Popen([sys.executable, "ten.py", str(index)], cwd=project, stdout=subprocess.PIPE, text=True)
        for index in range(8)
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 8
    assert outputs == [str(index + 10) for index in range(8)]
    workspace = Workspace(project / ".drystone")
    runs = workspace.runs(limit=100)
    assert sorted(run.number for run in runs) == list(range(1, 9))
    versions = sorted(each.version for each in workspace.artifacts(name="ten.grow", limit=1000))
    assert versions == list(range(1, 9))
    assert workspace.verify() == []
    workspace.close()
