"""A team that works at once: every number is dense, whatever is common is made once, and all see the same."""

from __future__ import annotations

from pathlib import Path

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
