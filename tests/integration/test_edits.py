"""Code that changes between runs, while a driver has it loaded, and within one process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

MODULES = {
    "deep.py": '"""Deep."""\n\nFACTOR = 2\n\n\ndef scaled(x):\n    return x * FACTOR\n',
    "middle.py": "from deep import scaled\n\n\ndef prepared(x):\n    return scaled(x) + 1\n",
    "work.py": """
from drystone import pipeline, step
from middle import prepared

@step
def source() -> int:
    return 10

@step
def shaped(x: int) -> int:
    return prepared(x)

@step
def last(x: int) -> int:
    return x - 1

@pipeline
def working():
    return last(shaped(source()))

if __name__ == "__main__":
    import json
    run = working()
    print(json.dumps([{name: step.status for name, step in run.steps.items()}, run.output.load()]))
""",
}


@pytest.fixture
def code(project: Path) -> Path:
    """A project of three modules."""
    for name, text in MODULES.items():
        (project / name).write_text(text)
    return project


def ran(python: Callable[..., subprocess.CompletedProcess[str]]) -> tuple[list[str], int]:
    """The names of the executed steps, and the result."""
    done = python("work.py")
    assert done.returncode == 0, done.stderr
    statuses, value = json.loads(done.stdout)
    return [name for name, status in statuses.items() if status == "succeeded"], value


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_helper_two_modules_away_is_named_with_a_diff_and_reruns_what_it_affects(
    code: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert ran(python) == (["source", "shaped", "last"], 20)
    edit(code / "deep.py", "return x * FACTOR", "return x * FACTOR + 5")
    plan = python("-c", "from work import working; print(working.plan())").stdout
    assert "code of deep.scaled changed" in plan
    assert "-    return x * FACTOR\n" in plan
    assert "+    return x * FACTOR + 5" in plan
    assert ran(python) == (["shaped", "last"], 25)
    edit(code / "deep.py", "FACTOR = 2", "FACTOR = 3")
    assert "deep.FACTOR changed: 2 → 3" in python("-c", "from work import working; print(working.plan())").stdout
    assert ran(python) == (["shaped", "last"], 35)


def test_cosmetic_edits_run_nothing(code: Path, python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ran(python)
    edit(
        code / "deep.py",
        "    return x * FACTOR",
        '    """Scale."""\n\n    # by the factor\n    return (\n        x * FACTOR\n    )',
    )
    edit(code / "work.py", "@step\ndef last", "\n\ndef unrelated():\n    return 1\n\n@step\ndef last")
    assert ran(python) == ([], 20)


@pytest.fixture
def work(code: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The project's module, loaded in this process."""
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # bytecode would hide a second edit within a second
    yield importlib.import_module("work")
    for name in ("work", "middle", "deep"):
        sys.modules.pop(name, None)


def test_a_file_edited_under_a_driver_never_stores_a_result_under_the_wrong_key(
    code: Path, work: ModuleType, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    edit(code / "deep.py", "return x * FACTOR", "return x * FACTOR + 5")
    plan = work.working.plan()
    assert plan.steps["shaped"].status == "run"
    run = work.working()
    assert run.output.load() == 20  # what is loaded is what ran
    assert "file edited since it was loaded" in run.steps["shaped"].reason
    assert ran(python)[1] == 25
    edit(code / "deep.py", "return x * FACTOR + 5", "return x * FACTOR")
    assert ran(python)[1] == 20


def test_an_edit_and_reload_between_two_runs_of_one_process_is_seen(code: Path, work: ModuleType) -> None:
    assert work.working().output.load() == 20
    edit(code / "deep.py", "FACTOR = 2", "FACTOR = 4")
    for name in ("deep", "middle", "work"):
        importlib.reload(sys.modules[name])
    run = sys.modules["work"].working()
    assert run.output.load() == 40
    assert {name: step.status for name, step in run.steps.items()} == {
        "source": "cached",
        "shaped": "succeeded",
        "last": "succeeded",
    }


SETTINGS = """
import dataclasses
from drystone import pipeline, step

@dataclasses.dataclass(frozen=True)
class Scale:
    factor: int

    def of(self, x):
        return x * self.factor

@step
def scaled(scales) -> int:
    return sum(scale.of(10) for scale in scales)

@pipeline
def scaling():
    return scaled([Scale(2)])

if __name__ == "__main__":
    run = scaling()
    print(run.executed, run.output.load())
"""


def test_a_method_reached_through_an_argument_reruns_the_step(
    code: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (code / "settings.py").write_text(SETTINGS)
    assert python("settings.py").stdout.split() == ["1", "20"]
    assert python("settings.py").stdout.split() == ["0", "20"]
    edit(code / "settings.py", "return x * self.factor", "return x * self.factor + 1")
    assert python("settings.py").stdout.split() == ["1", "21"]
