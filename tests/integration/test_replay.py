"""Replays: one step of a recorded run again, on what it was given then, with the code as it is now."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drystone import Workspace

FLOWS = """
import datetime
import enum
import sys
from typing import Annotated

import numpy as np

from drystone import Artifact, get_context, log_metadata, pipeline, save_artifact, step


class Kind(enum.Enum):
    PLAIN = 1


def scaled(x):
    return x * 10


@step
def load(rows: int) -> Annotated[list, Artifact("numbers")]:
    return list(range(rows))


@step
def fit(data: list, rate: float, kind: Kind, day: datetime.date, names: tuple) -> Annotated[float, "score"]:
    log_metadata({"rate": rate, "run": get_context().run})
    save_artifact([1, 2], "kept")
    print("fitting", kind, day, names)
    return scaled(sum(data) * rate)


@step
def report(parts: dict) -> str:
    return str(parts)


@step
def guess() -> Annotated[np.ndarray, "guess"]:
    return np.random.default_rng().random(3)


@step
def fail(data: list) -> int:
    share = 10 / (len(data) - 3)
    return int(share)


@pipeline
def training(rows: int = 3, rate: float = 0.5):
    data = load(rows)
    score = fit(data, rate, Kind.PLAIN, datetime.date(2026, 1, 31), ("a", 1))
    guess()
    fail(data)
    return report({"score": score, "all": [data, 7]})
"""

TRAIN = "import flows; flows.training()"
REPLAY = """
import sys
from drystone import Workspace, find_pipeline
found = Workspace.current().replay("training-1", sys.argv[1])
print(found.outputs, found.equal, found.notes, [each.text for each in found.changes])
"""


@pytest.fixture
def flows(workspace: Workspace, project: Path, python: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """A project whose pipeline ran once; one of its steps failed."""
    file = project / "flows.py"
    file.write_text(FLOWS)
    done = python("-c", TRAIN)
    assert "ZeroDivisionError" in done.stderr
    assert workspace.run("training-1").steps["report"].status == "succeeded"
    return file


Python = Callable[..., "subprocess.CompletedProcess[str]"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def replayed(python: Python, step: str) -> str:
    done = python("-c", REPLAY, step)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def refused(python: Python, step: str, run: str = "training-1") -> str:
    done = python("-c", REPLAY.replace("training-1", run), step)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1].partition(": ")[2]


def test_a_replayed_step_makes_what_is_on_record_and_records_nothing(
    flows: Path, python: Python, workspace: Workspace, project: Path
) -> None:
    before = workspace.info()
    blobs = sorted(project.glob(".drystone/**/blobs/*/*"))
    assert replayed(python, "fit") == "{'score': 15.0} {'score': True} () []"
    assert replayed(python, "report") == (
        "{'output': \"{'score': 15.0, 'all': [[0, 1, 2], 7]}\"} {'output': True} () []"
    )
    assert workspace.info() == before
    assert sorted(project.glob(".drystone/**/blobs/*/*")) == blobs


def test_a_result_that_is_not_the_same_is_told(flows: Path, python: Python) -> None:
    assert "{'guess': False} () []" in replayed(python, "guess")


def test_todays_code_runs_on_yesterdays_inputs(flows: Path, python: Python, workspace: Workspace) -> None:
    edit(flows, "return x * 10", "return x * 11")
    edit(flows, "return list(range(rows))", "return [100]")
    assert replayed(python, "fit") == "{'score': 16.5} {'score': False} () ['code of flows.scaled changed']"


def test_arguments_are_those_of_the_run_whatever_the_pipeline_passes_today(flows: Path, python: Python) -> None:
    edit(
        flows,
        'fit(data, rate, Kind.PLAIN, datetime.date(2026, 1, 31), ("a", 1))',
        ("fit(load.with_options(name='other')(9), 0.75, Kind.PLAIN, datetime.date(2026, 1, 31), (\"b\",))"),
    )
    assert replayed(python, "fit") == "{'score': 15.0} {'score': True} () []"


def test_what_a_run_was_asked_for_is_asked_for_again(flows: Path, python: Python) -> None:
    asked = "{'fit': {'parameters': {'day': datetime.date(2026, 3, 1)}}}"
    python("-c", f"import datetime, flows; flows.training.with_options(steps={asked})()")
    done = python("-c", REPLAY.replace("training-1", "training-2"), "fit").stdout.splitlines()
    assert done == ["fitting Kind.PLAIN 2026-03-01 ('a', 1)", "{'score': 15.0} {'score': True} () []"]


def test_an_argument_that_is_on_record_as_text_only_must_still_be_passed(flows: Path, python: Python) -> None:
    edit(flows, "datetime.date(2026, 1, 31)", "datetime.date(2026, 2, 1)")
    assert refused(python, "fit") == (
        "Argument 'day' was datetime.date(2026, 1, 31), which is on record only as this text, and today's pipeline "
        "passes another value. Check out the code that ran, and replay there."
    )


def test_artifacts_inside_a_container_are_those_of_the_run(flows: Path, python: Python) -> None:
    edit(flows, '"all": [data, 7]', '"all": [data, 8]')
    assert refused(python, "report").startswith(
        "Argument 'parts' held artifacts among other things, and today's pipeline puts it together in another way."
    )


def test_a_new_parameter_and_a_dropped_one_are_noted(flows: Path, python: Python) -> None:
    edit(flows, "names: tuple)", "more: int = 1)")
    edit(flows, ', ("a", 1))', ")")
    edit(flows, "kind, day, names", "kind, day")
    assert replayed(python, "fit") == (
        "{'score': 15.0} {'score': True} ('names was passed then, and is no parameter now', 'more is new, and is "
        "what is passed today') ['code of flows.fit changed', 'code of flows.fit.more is new']"
    )


def test_a_new_parameter_that_other_steps_make_cannot_be_had(flows: Path, python: Python) -> None:
    edit(flows, "def fail(data: list)", "def fail(data: list, guess: np.ndarray)")
    edit(flows, "    guess()\n    fail(data)", "    fail(data, guess())")
    assert refused(python, "fail").startswith(
        "Argument 'guess' is new, and is made by other steps: no artifact on record belongs to it."
    )


def test_a_failed_step_fails_again_with_the_users_own_error(flows: Path, python: Python) -> None:
    done = python("-c", REPLAY, "fail")
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    edit(flows, "(len(data) - 3)", "(len(data) - 2)")
    assert replayed(python, "fail") == "{'output': 10} {'output': None} () ['code of flows.fail changed']"


LOADING = """
from drystone import load_artifact, pipeline, save_artifact, step


@step
def prices() -> list:
    save_artifact([5], "own")
    return [load_artifact("prices"), load_artifact("own"), *LATER]


LATER = []


@pipeline
def loading():
    return prices()
"""


def test_what_a_step_loaded_is_loaded_again(workspace: Workspace, project: Path, python: Python) -> None:
    (project / "flows.py").write_text(LOADING)
    workspace.save_artifact(1, "prices")
    python("-c", "import flows; flows.loading()")
    workspace.save_artifact(2, "prices")
    again = REPLAY.replace("training-1", "loading-1")
    found = python("-c", again, "prices").stdout.splitlines()[-1]
    assert found == "{'output': [1, [5]]} {'output': True} () []"
    edit(project / "flows.py", "*LATER]", "load_artifact('prices', 2)]")
    found = python("-c", again, "prices").stdout.splitlines()[-1]
    assert found.startswith("{'output': [1, [5], 2]} {'output': False} ()")


def test_directory_and_environment_are_as_before(flows: Path, python: Python) -> None:
    edit(flows, "share = 10", "import os; os.chdir('/'); os.environ['ODD'] = '1'; return 1; share = 10")
    script = (
        "import os\nfrom drystone import Workspace\nbefore = os.getcwd()\n"
        "Workspace.current().replay('training-1', 'fail')\nprint(before == os.getcwd(), 'ODD' in os.environ)"
    )
    assert python("-c", script).stdout == "True False\n"


def test_a_step_that_exits_does_not_end_what_replays_it(flows: Path, python: Python) -> None:
    edit(flows, "share = 10", "sys.exit(0); share = 10")
    assert refused(python, "fail") == "Step 'fail' exited with 0."


def test_a_hit_is_replayed_on_its_own_inputs(flows: Path, python: Python, workspace: Workspace) -> None:
    python("-c", TRAIN)
    assert workspace.run("training-2").steps["fit"].status == "cached"
    found = python("-c", REPLAY.replace("training-1", "training-2"), "fit").stdout.splitlines()[-1]
    assert found == "{'score': 15.0} {'score': True} () []"


def test_lost_inputs_are_named(flows: Path, python: Python, workspace: Workspace, project: Path) -> None:
    version = workspace.run("training-1").steps["fit"].inputs["data"]
    (blob,) = version.manifest.blobs
    next(project.glob(f".drystone/**/blobs/*/{blob.digest}")).unlink()
    assert refused(python, "fit").startswith("The input numbers@1 cannot be read: The blob ")
    with workspace._database.transaction() as (_, index):
        index._execute("DELETE FROM v4_documents WHERE kind = 'artifact' AND name = 'numbers@1'")
    assert refused(python, "fit") == "Argument 'data' was numbers@1, which was deleted."


def test_what_never_began_and_what_is_not_there_cannot_be_replayed(
    flows: Path, python: Python, workspace: Workspace
) -> None:
    edit(flows, 'report({"score": score,', 'report({"score": score, "failed": fail(data),')
    python("-c", TRAIN)
    assert refused(python, "report", "training-2").startswith(
        "Step 'report' of training-2 is skipped: it never began, so there is nothing that it was given."
    )
    assert refused(python, "fitt").startswith("Run training-1 has no step 'fitt'. Did you mean 'fit'?")
    edit(flows, "    guess()\n", "")
    assert refused(python, "guess").startswith("Pipeline flows:training has no step 'guess' any more. Its steps: ")


def test_a_pipeline_that_cannot_be_imported_is_told(workspace: Workspace, python: Python) -> None:
    python("-c", "from drystone import *\n@step\ndef one() -> int:\n    return 1\n@pipeline\ndef p():\n    one()\np()")
    assert refused(python, "one", "p-1").startswith(
        "Step 'one' of p-1 cannot be replayed: its pipeline is defined inside a function or a session"
    )


def test_what_is_known_beforehand_is_announced_before_the_step_is_called(flows: Path, python: Python) -> None:
    edit(flows, "return x * 10", "print('called'); return x * 10")
    script = (
        "from drystone import Workspace\n"
        "say = lambda found: print('announced', [each.name for each in found.changes], found.outputs)\n"
        "found = Workspace.current().replay('training-1', 'fit', announce=say)\n"
        "print(found.metadata, found.recorded['score'])"
    )
    assert python("-c", script).stdout.splitlines() == [
        "announced ['flows.scaled'] {}",
        "fitting Kind.PLAIN 2026-01-31 ('a', 1)",
        "called",
        "{'rate': 0.5, 'run': 'training-1'} score@1",
    ]


def debugged(project: Path, answers: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Replays the failing step, with somebody typing."""
    command = [str(Path(sys.executable).with_name("drystone")), "replay", "training-1", "fail", *options]
    return subprocess.run(command, input=answers, capture_output=True, text=True, cwd=project, timeout=120, check=False)


def test_the_debugger_stands_at_the_failing_line(flows: Path, project: Path) -> None:
    done = debugged(project, "p len(data)\nq\n", "--debug")
    assert "-> share = 10 / (len(data) - 3)\n(Pdb) 3\n" in done.stdout
    assert done.stderr.splitlines()[-2:] == [
        "ZeroDivisionError: division by zero",
        "Error: ZeroDivisionError: division by zero",
    ]
    assert done.returncode == 1


def test_breakpoints_work_and_leaving_them_is_an_interrupt(flows: Path, project: Path) -> None:
    edit(flows, "    share = 10", "    breakpoint()\n    share = 10")
    done = debugged(project, "p data\nq\n")
    assert "(Pdb) [0, 1, 2]\n" in done.stdout
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")
