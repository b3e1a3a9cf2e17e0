"""A team that works at once: every number is dense, whatever is common is made once, and all see the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drystone.graphs import Node
from drystone.journals import Journal
from drystone.projects import find_pipeline
from drystone.testing.teams import Team

STACKS = """
from drystone import FsspecArtifactStore, Stack
from drystone_local import LocalOrchestrator

store = FsspecArtifactStore(url="file://{folder}/blobs")
default = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=store)
"""


def test_eight_processes_with_a_home_each_commit_two_hundred_runs(tmp_path: Path) -> None:
    team = Team(tmp_path / "project", STACKS.format(folder=tmp_path), f"file://{tmp_path}/team")
    team.work(people=8, runs=25)
    team.check(people=8, runs=25)


def test_processes_that_share_a_home_share_a_copy(tmp_path: Path) -> None:
    team = Team(tmp_path / "project", STACKS.format(folder=tmp_path), f"file://{tmp_path}/team", one_home=True)
    team.work(people=4, runs=4)
    team.check(people=1, runs=4, of=4)
    assert len(list((tmp_path / "project" / "homes").iterdir())) == 1


FLOW = """
from pathlib import Path

from drystone import pipeline, step


def note(what: str) -> None:
    with Path("computed").open("a") as file:
        file.write(f"{what} ")


@step
def one(x: int) -> int:
    note(f"one{x}")
    return x


@step
def numbers() -> list[int]:
    return [1, 2, 3]


@pipeline
def plain() -> int:
    return one(7)


@pipeline
def mapped() -> list[int]:
    return one.map(numbers())
"""


@pytest.mark.parametrize(("name", "computed"), [("plain", "one7 "), ("mapped", "one1 one2 one3 ")])
def test_what_somebody_has_finished_since_it_was_decided_is_not_computed_again(
    module: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, name: str, computed: str
) -> None:
    module("flow", FLOW)
    pipeline = find_pipeline(f"flow:{name}", Path.cwd())
    claimed, others = Journal.claimed, [pipeline]

    def overtaken(self: Journal, node: Node, *decided: Any) -> bool:
        if node.name.startswith("one") and others:
            self.flush()
            others.pop()()  # somebody else runs the same from beginning to end, just now
        return claimed(self, node, *decided)

    monkeypatch.setattr(Journal, "claimed", overtaken)
    run = pipeline()
    assert (run.name, run.steps["one"].status, run.steps["one"].executed) == (f"{name}-1", "cached", 0)
    assert sorted(Path("computed").read_text().split()) == computed.split()


def test_what_somebody_has_finished_and_lost_is_computed_again(
    module: Callable[[str, str], Path], project: Path
) -> None:
    module("flow", FLOW)
    for name in ("plain", "mapped"):
        pipeline = find_pipeline(f"flow:{name}", project)
        pipeline()
        shutil.rmtree(project / ".drystone" / "artifacts" / "blobs")
        assert pipeline().executed > 0
