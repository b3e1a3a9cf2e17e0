"""Steps that an orchestrator launches as commands: what they get, what they leave, and what a dead driver leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from drystone import Environment, FsspecArtifactStore, Stack, StepNeeds
from drystone.errors import PlanError, RunFailedError, StackError
from drystone.failures import Failure
from drystone.jobs import Leftovers
from drystone.options import Resources
from drystone.serialization import to_text, unstructure
from drystone.tasks import StepResult, StepTask
from drystone.testing.commands import CommandJob, CommandOrchestrator

SECRET = "granite-and-slate"

PIPELINES = """
import numpy
from drystone import Secret, get_context, log_metadata, pipeline, step
from library import scaled

@step
def measured(factor: int) -> int:
    print("measuring", factor)
    return scaled(factor)

@step
def told(value: int, token: Secret) -> str:
    return f"{value} {token.resolve()[::-1]}"

@pipeline
def training(factor: int = 2):
    return told(measured(factor), Secret("env:TOKEN"))

@pipeline
def alone(factor: int = 2):
    return measured(factor)

@step
def counted(n: int) -> int:
    return int(numpy.arange(n).sum())

@pipeline
def counting(n: int = 4):
    return counted(n)

class Odd:
    pass

@step
def odd() -> Odd:
    return Odd()

@step
def taken(value: Odd) -> int:
    return 1

@pipeline
def handing():
    return taken(odd())

@step
def whole() -> dict:
    return {"a": [1, 2.5, None], "b": "text"}

@step
def read(value: dict) -> str:
    return value["b"]

@pipeline
def plain():
    return read(whole())
"""


@attrs.frozen(kw_only=True)
class Elsewhere(CommandOrchestrator):
    """Launches commands, and says that they find another environment."""

    python_there: str = ""
    packages: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    unknown: str = ""
    only: tuple[str, ...] = ()

    def environment(self, step: StepNeeds) -> Environment | None:
        """What its settings say."""
        if self.only and step.name not in self.only:
            return None
        return Environment(python=self.python_there, packages=self.packages, unknown=self.unknown)


@attrs.frozen(kw_only=True)
class Noting(CommandOrchestrator):
    """Notes everything that it is given but secrets."""

    notes: str = ""

    def launch(
        self,
        task_uri: str,
        command: Sequence[str],
        resources: Resources | None,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> CommandJob:
        """Write it down, with the references of secrets."""
        note = [task_uri, *command, str(resources), dict(environment), sorted(secrets)]
        with Path(self.notes).open("a") as file:
            file.write(json.dumps(note) + "\n")
        return super().launch(task_uri, command, resources, environment, secrets)


@pytest.fixture
def pipelines(module, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    module("library", "def scaled(n):\n    return 10 * n\n")
    file = module("works", PIPELINES)
    sys.path.insert(0, str(file.parent))
    import works

    return works


@pytest.fixture
def stack(tmp_path):
    def made(orchestrator):
        store = FsspecArtifactStore(url=f"file://{tmp_path}/store")
        return Stack("yard", orchestrator=orchestrator, artifact_store=store)

    return made


def test_a_secret_reaches_the_step_and_nothing_else(pipelines, stack, tmp_path):
    notes = tmp_path / "notes"
    store = tmp_path / "store"
    kept = []

    @attrs.frozen(kw_only=True)
    class Watching(Noting):
        def launch(self, task_uri, *others):
            kept.extend(path.read_text() for path in store.rglob("task.json"))
            return super().launch(task_uri, *others)

    run = pipelines.training.with_options(stack=stack(Watching(notes=str(notes))))()
    assert run.output.load() == f"20 {SECRET[::-1]}"
    assert len(kept) >= 2
    assert not any(SECRET in text for text in (*kept, notes.read_text(), repr(run)))
    _, second = map(json.loads, notes.read_text().splitlines())
    assert second[-1] == ["env:TOKEN"]


def test_a_job_is_told_what_it_is(pipelines, stack, tmp_path):
    notes = tmp_path / "notes"
    changed = {"measured": {"resources": Resources(cpus=2)}}
    with pytest.raises(PlanError, match="needs resources"):
        pipelines.alone.with_options(stack=stack(Noting(notes=str(notes))), steps=changed)()
    run = pipelines.alone.with_options(stack=stack(Noting(notes=str(notes))))()
    uri, *command, resources, environment, _ = json.loads(notes.read_text())
    assert command == ["python", "-m", "drystone.workers", uri]
    assert resources == "None"
    told = {name: environment[f"DRYSTONE_{name}"] for name in ("RUN", "PIPELINE", "STEP", "ATTEMPT")}
    assert told == {"RUN": run.name, "PIPELINE": "alone", "STEP": "measured", "ATTEMPT": "1"}


def test_what_a_job_prints_is_its_log_and_shown_as_its_steps(pipelines, stack, capsys):
    run = pipelines.alone.with_options(stack=stack(CommandOrchestrator()))()
    assert run.steps["measured"].logs() == "measuring 2\n"
    assert "measured | measuring 2\n" in capsys.readouterr().out


def test_the_messages_of_a_run_go_with_it(pipelines, stack, tmp_path):
    pipelines.alone.with_options(stack=stack(CommandOrchestrator()))()
    assert [path for path in (tmp_path / "store" / "tasks").rglob("*") if path.is_file()] == []


def test_an_edit_after_the_run_was_planned_is_refused(pipelines, stack, project):
    @attrs.frozen(kw_only=True)
    class Slow(CommandOrchestrator):
        @property
        def concurrency(self):  # asked before the first job is launched
            (project / "library.py").write_text("def scaled(n):\n    return 11 * n\n")
            return 1

    with pytest.raises(RunFailedError, match=r"Edited while the run was planned: .*library\.py"):
        pipelines.alone.with_options(stack=stack(Slow()))()


def test_a_missing_secret_fails_the_step_with_its_name(pipelines, stack, monkeypatch):
    monkeypatch.delenv("TOKEN")
    with pytest.raises(RunFailedError, match="TOKEN") as caught:
        pipelines.training.with_options(stack=stack(CommandOrchestrator()))()
    assert isinstance(caught.value.__cause__, StackError)


# Environments


def statuses(plan):
    return {name: step.status for name, step in plan.steps.items()}


def causes(plan, step):
    return [cause.text for cause in plan.steps[step].causes]


def version_here():
    import numpy

    return {"numpy": numpy.__version__}


def test_equal_environments_share_results(pipelines, stack):
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    first = pipelines.counting.with_options(stack=stack(CommandOrchestrator()))()
    same = Elsewhere(python_there=here, packages=version_here())
    second = pipelines.counting.with_options(stack=stack(same))()
    assert (first.executed, second.executed) == (1, 0)


def test_the_version_where_a_step_runs_is_in_its_key(pipelines, stack):
    pipelines.counting.with_options(stack=stack(Elsewhere(packages=version_here())))()
    plan = pipelines.counting.with_options(stack=stack(Elsewhere(packages={"numpy": "1.0"}))).plan()
    assert statuses(plan) == {"counted": "run"}
    assert causes(plan, "counted") == [f"package numpy {version_here()['numpy']} → 1.0"]


def test_the_python_where_a_step_runs_is_in_its_key(pipelines, stack):
    pipelines.counting.with_options(stack=stack(Elsewhere(packages=version_here())))()
    other = Elsewhere(packages=version_here(), python_there="3.99")
    plan = pipelines.counting.with_options(stack=stack(other)).plan()
    assert statuses(plan) == {"counted": "run"}
    assert any("3.99" in each for each in causes(plan, "counted"))


def test_an_unknown_environment_leaves_the_plan_open(pipelines, stack):
    pipelines.counting.with_options(stack=stack(CommandOrchestrator()))()
    unbuilt = stack(Elsewhere(unknown="its image is not built yet"))
    plan = pipelines.counting.with_options(stack=unbuilt).plan()
    assert statuses(plan) == {"counted": "maybe"}
    assert causes(plan, "counted") == ["its image is not built yet"]


def test_what_is_made_in_an_unknown_environment_is_not_taken_for_what_a_known_one_makes(pipelines, stack):
    unknown = pipelines.counting.with_options(stack=stack(Elsewhere(unknown="its image says nothing")))
    first, second = unknown(), unknown()
    known = pipelines.counting.with_options(stack=stack(CommandOrchestrator()))()
    assert [each.executed for each in (first, second, known)] == [1, 1, 1]
    assert [cause.text for cause in second.steps["counted"].causes] == ["its image says nothing"]


def test_what_is_not_installed_there_is_refused_when_planned(pipelines, stack):
    bare = pipelines.counting.with_options(stack=stack(Elsewhere(packages={"pandas": "2.0"})))
    for call in (bare.plan, bare):
        with pytest.raises(PlanError, match="'counted' uses numpy, which is not installed where it is to run"):
            call()


def test_what_only_pickle_can_store_does_not_pass_between_pythons(pipelines, stack):
    between = stack(Elsewhere(python_there="3.99", only=("odd",)))
    with pytest.raises(PlanError, match=r"'taken' takes 'value' from step 'odd' as works.Odd.*3\.99"):
        pipelines.handing.with_options(stack=between).plan()


def test_plain_data_passes_between_pythons(pipelines, stack):
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    between = stack(Elsewhere(python_there="3.99", only=("whole",)))
    assert here != "3.99"
    run = pipelines.plain.with_options(stack=between)()
    assert run.output.load() == "text"


# What a driver that died has left


@attrs.define
class LeftJob:
    ended: bool = False
    waited: bool = False

    def logs(self):
        return iter(())

    def wait(self):
        assert self.ended
        self.waited = True
        return -9

    def cancel(self):
        self.ended = True


@attrs.frozen(kw_only=True)
class Leaving(CommandOrchestrator):
    left: dict = attrs.field(factory=dict, eq=False)

    def jobs(self, prefix):
        return {uri: job for uri, job in self.left.items() if uri.startswith(prefix)}


FOLDER = "tasks/training-1-0123abcd/"


@pytest.fixture
def task():
    return StepTask(
        id="a1",
        run="training-1",
        pipeline="training",
        step="train",
        attempt=1,
        code="works:train",
        closure="c0de",
        root="/here",
        inputs={"n": {"value": 1}},
        outputs=(),
        parameters={},
        model_version=None,
        store="{}",
        allow_pickle=False,
        exclusive=True,
        pid=1,
        key="k1",
        folder=f"{FOLDER}train/1",
    )


@pytest.fixture
def left(tmp_path):
    store = FsspecArtifactStore(url=f"file://{tmp_path}/store")

    def made(task, result=None, job=None):
        store.write(f"{task.folder}/task.json", to_text(unstructure(task)).encode())
        if result is not None:
            store.write(f"{task.folder}/result.json", to_text(unstructure(result)).encode())
        jobs = {f"{store.identity}/{task.folder}/task.json": job} if job is not None else {}
        return Leftovers(store, FOLDER, [Leaving(left=jobs)])

    return made


def again(task, **changes):
    return attrs.evolve(task, **{"id": "a2", "folder": f"{FOLDER}train/1.2", "pid": 2, "root": "/there", **changes})


def test_a_finished_result_is_taken(left, task):
    found = left(task, StepResult(id="a1")).taken(again(task))
    assert found == (task, StepResult(id="a1"))


def test_a_job_that_does_the_same_is_taken_over(left, task):
    job = LeftJob()
    assert left(task, job=job).taken(again(task)) == (task, job)
    assert not job.ended


@pytest.mark.parametrize("change", [{"key": "other"}, {"inputs": {"n": {"value": 2}}}, {"model_version": ("m", 2)}])
def test_a_job_that_does_something_else_is_ended_before_its_step_runs_again(left, task, change):
    job = LeftJob()
    assert left(task, job=job).taken(again(task, **change)) is None
    assert job.ended
    assert job.waited


def test_a_result_of_another_attempt_is_not_taken(left, task):
    assert left(task, StepResult(id="foreign")).taken(again(task)) is None


def test_a_job_that_has_failed_is_not_taken_over(left, task):
    job = LeftJob()
    failed = StepResult(id="a1", failure=Failure(type="ValueError", message="", traceback=""))
    assert left(task, failed, job).taken(again(task)) is None
    assert job.waited


def test_jobs_that_no_step_wants_are_ended(left, task):
    job = LeftJob()
    left(task, job=job).end()
    assert job.waited


def test_jobs_of_other_runs_are_left_alone(left, task):
    job = LeftJob()
    leftovers = left(attrs.evolve(task, folder="tasks/training-11-0123abcd/train/1"), job=job)
    leftovers.end()
    assert not job.ended


def test_code_that_no_key_stands_for_is_compared_by_its_bundle(left, task):
    unread = attrs.evolve(task, key=None, bundle="b1")
    assert left(unread, StepResult(id="a1")).taken(again(unread)) is not None
    assert left(unread, StepResult(id="a1")).taken(again(unread, bundle="b2")) is None
