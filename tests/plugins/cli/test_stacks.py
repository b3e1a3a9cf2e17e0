"""`drystone stacks` checks, compares, publishes and describes stacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result

STACKS = """
from drystone import FsspecArtifactStore, Secret, Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

dev = Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
far = dev.evolve("far", artifact_store=FsspecArtifactStore(url="memory://far", options={"token": Secret("env:ABSENT")}))
"""

Drystone = Callable[..., Result]


@pytest.fixture
def file(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ABSENT", raising=False)
    path = project / "stacks.py"
    path.write_text(STACKS)
    return path


def test_checking_tells_problems_by_stack_and_component(drystone: Drystone, file: Path) -> None:
    fine = drystone("stacks", "check", "dev")
    assert (fine.code, fine.out) == (0, "Nothing is wrong with dev.\n")
    wrong = drystone("stacks", "check", "--all")
    assert wrong.code == 1
    assert wrong.out.startswith("far\n  artifact_store\n    - options.token: ")
    assert wrong.out.endswith("Nothing is wrong with default, dev.\n")
    (record,) = drystone("stacks", "check", "far", "--json").records
    assert (record["stack"], record["component"]) == ("far", "artifact_store")


def test_checking_tells_of_a_file_that_raises_and_of_names_that_are_none(drystone: Drystone, file: Path) -> None:
    unknown = drystone("stacks", "check", "dve")
    assert unknown.code == 1
    assert "Did you mean 'dev'" in unknown.out
    file.write_text("1 / 0")
    broken = drystone("stacks", "check")
    assert broken.code == 1
    assert "line 1: ZeroDivisionError" in broken.out


def test_differences_are_told_and_the_exit_code_says_whether_there_are_any(drystone: Drystone, file: Path) -> None:
    assert drystone("stacks", "diff", "dev", "dev").code == 0
    different = drystone("stacks", "diff", "dev", "far")
    assert different.code == 1
    assert "artifact_store.options.token: 'env:ABSENT'" in different.out
    assert drystone("stacks", "diff", "dev", "far", "--json").records[0]["kind"] == "artifact_store"
    assert drystone("stacks", "diff", "dev").code == 2
    assert "No stack 'dev' is published" in drystone("stacks", "diff", "dev", "--published").err


def test_a_published_stack_is_there_without_the_file(drystone: Drystone, file: Path) -> None:
    assert drystone("stacks", "publish", "dev").code == 0
    assert drystone("stacks", "diff", "dev", "--published").code == 0
    file.unlink()
    names = [record["name"] for record in drystone("stacks", "list", "--json").records]
    assert names == ["default", "dev"]
    assert drystone("stacks", "use", "dev").code == 0
    assert drystone("run", "flows:training", "--stack", "dev").code == 0
    assert "Stack dev" in drystone("runs", "show", "training-1").out
    assert drystone("stacks", "unpublish", "dev").code == 0
    gone = drystone("stacks", "list")
    assert (gone.code, gone.out.count("default")) == (0, 1)
    assert "No stack is active. There is no stack 'dev'" in gone.err
    assert "withdrawn" in drystone("stacks", "show", "dev", "--history").out


def test_a_page_is_printed_or_written(drystone: Drystone, file: Path, project: Path) -> None:
    printed = drystone("stacks", "doc", "--pipeline", "flows:training").out
    assert drystone("stacks", "doc", "--pipeline", "flows:training", "-o", "STACKS.md").code == 0
    assert (project / "STACKS.md").read_text() == printed
    assert "## dev" in printed
    assert "flowchart TD" in printed
    assert drystone("stacks", "doc", "-o", "none/at/all.md").code == 2


def test_orchestrators_of_steps_are_shown_checked_and_compared(drystone: Drystone, file: Path) -> None:
    more = 'more = dev.evolve("more", step_orchestrators={"big": LocalOrchestrator(workers=100_000)})'
    file.write_text(f"{STACKS}{more}\n")
    assert "step_orchestrators.big=local" in drystone("stacks", "list").out
    assert "step_orchestrators.big: local\n" in drystone("stacks", "show", "more").out
    (record,) = drystone("stacks", "show", "more", "--json").records
    assert record["step_orchestrators"]["big"]["settings"]["workers"] == 100_000
    assert drystone("stacks", "check", "more").out.startswith("more\n  step_orchestrators.big\n    - workers=100000")
    assert "added    step_orchestrators.big.workers: 100000" in drystone("stacks", "diff", "dev", "more").out
    assert drystone("stacks", "publish", "more").code == 0
    assert drystone("stacks", "diff", "more", "--published").code == 0
    assert "step_orchestrators.big=local" in drystone("stacks", "show", "more", "--history").out


def test_a_file_may_say_which_orchestrator_a_step_runs_on(drystone: Drystone, file: Path, project: Path) -> None:
    file.write_text(f'{STACKS}more = dev.evolve("more", step_orchestrators={{"big": LocalOrchestrator()}})\n')
    (project / "more.yaml").write_text("steps: {fit: {on: big, timeout: 60}}\n")
    assert "worker on big" in drystone("plan", "flows:training", "--stack", "more", "--params", "more.yaml").out
    refused = drystone("plan", "flows:training", "--stack", "dev", "--params", "more.yaml")
    assert "Step 'fit' is to run on 'big'" in refused.err
    assert "Stacks that have all of it: 'more'" in refused.err
