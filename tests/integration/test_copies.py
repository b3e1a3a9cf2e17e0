"""Whole workspaces that are copied: from a directory to a shared one and back, stopped anywhere, and gone on with."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drystone import Workspace, copy_workspace
from drystone.databases import Database
from drystone.errors import LedgerConflict, StackError, StageError, WorkspaceError
from drystone.events import StageMoved, event_to_json
from drystone.ledgers import Commit, next_commit
from drystone.locations import opened_ledger
from drystone.testing import memory_stack
from drystone_local import LocalArtifactStore

STACKS = """
from pathlib import Path

from drystone import FsspecArtifactStore, Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

drive = f"file://{Path(__file__).parent / 'drive'}"
dev = Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
team = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=FsspecArtifactStore(url=f"{drive}/blobs"))
default = dev
"""

FLOW = """
from drystone import Model, pipeline, step


@step
def numbers(n: int) -> list[int]:
    print("counting to", n)
    return list(range(n))


@step
def double(x: int) -> int:
    return 2 * x


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@pipeline(model=Model("sums"))
def sums(n: int = 3):
    return total(double.map(numbers(n)))
"""

SLOW = """
import time
from pathlib import Path

from drystone import pipeline, step


@step
def wait() -> int:
    Path("began").touch()
    time.sleep(60)
    return 1


@pipeline
def slow():
    return wait()


if __name__ == "__main__":
    slow()
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two stacks and a pipeline, and a home of its own; its workspace's directory."""
    (project / "stacks.py").write_text(STACKS)
    (project / "flow.py").write_text(FLOW)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    return project / ".drystone"


@pytest.fixture
def team(here: Path) -> str:
    return f"file://{here.parent}/drive/ledger"


@pytest.fixture
def drystone(here: Path, python: Command) -> Command:
    script = str(Path(sys.executable).with_name("drystone"))
    return lambda *words, **environment: python(script, *words, **environment)


def bodies(location: str | Path) -> list[str]:
    """The commits of a workspace, byte for byte."""
    if "://" in str(location):
        return [each.body for each in opened_ledger(str(location)).read()]
    database = Database(Path(location).resolve())
    with database.snapshot() as (ledger, _):
        return [each.body for each in ledger.read()]


def filled(location: str | Path, commits: int) -> None:
    workspace = Workspace(location)
    for number in range(commits):
        workspace.create_model_version("m", tags={"number": number})
    workspace.close()


def test_a_workspace_moves_to_a_team_and_back(here: Path, team: str, drystone: Command) -> None:
    assert drystone("run", "flow.py:sums").returncode == 0
    assert drystone("models", "promote", "sums", "1", "production").returncode == 0
    done = drystone("workspace", "copy", str(here), team, "--stack", "team")
    assert done.returncode == 0, done.stderr
    assert "has all 11 commits of" in done.stdout
    assert "0 there already" in done.stdout
    assert bodies(here) == bodies(team)
    ben = {"DRYSTONE_WORKSPACE": team, "DRYSTONE_STACK": "team", "XDG_CACHE_HOME": str(here.parent / "ben")}
    (here / "artifacts").rename(here / "gone")
    assert drystone("workspace", "verify", **ben).stdout == "Everything is whole.\n"
    assert drystone("logs", "sums-1", **ben).stdout.endswith("counting to 3\n")
    assert drystone("plan", "flow.py:sums", **ben).returncode == 0, "all of it is cached"
    assert "production" in drystone("models", "show", "sums", **ben).stdout
    back = drystone("workspace", "copy", team, "back", "--stack", "dev")
    assert back.returncode == 0, back.stderr
    assert bodies("back") == bodies(team)
    alone = {"DRYSTONE_WORKSPACE": "back"}
    (here.parent / "stacks.py").unlink()
    (here.parent / "drive").rename(here.parent / "away")
    assert drystone("workspace", "verify", **alone).stdout == "Everything is whole.\n"
    assert drystone("plan", "flow.py:sums", **alone).returncode == 0


def test_a_copy_is_brought_up_to_date(here: Path, team: str) -> None:
    filled(here, 3)
    assert copy_workspace(here, team, artifacts=False).commits == 3
    filled(here, 2)
    copy = copy_workspace(here, team, artifacts=False)
    assert (copy.commits, copy.ahead, copy.head[0]) == (2, 0, 5)
    assert copy_workspace(here, team, artifacts=False).commits == 0
    filled(team, 4)
    copy = copy_workspace(here, team, artifacts=False)
    assert (copy.commits, copy.ahead) == (0, 4), "those who use it have gone on"
    assert copy_workspace(team, here, artifacts=False).commits == 4


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.sampled_from(["version", "save", "promote", "rollback", "tag"]), max_size=12))
def test_any_history_is_the_same_everywhere(history: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        (folder / "pyproject.toml").touch()
        workspace = Workspace(folder / "here")
        workspace.create_model_version("m")
        for number, what in enumerate(history):
            _do(workspace, what, number)
        url = f"file://{folder}/there"
        stack = memory_stack(artifact_store=LocalArtifactStore(str(folder / "blobs")))
        copy_workspace(folder / "here", url, artifacts=False)
        copy_workspace(url, folder / "back", stack=stack)
        assert bodies(folder / "here") == bodies(url) == bodies(folder / "back")
        shared, back = Workspace(url), Workspace(folder / "back")
        for other in (shared, back):
            assert other.artifacts() == workspace.artifacts()
            assert other.models() == workspace.models()
            assert other.stage_history("m") == workspace.stage_history("m")
            assert [each.kind for each in other.verify()] in ([], ["store"])
        for each in (workspace, shared, back):
            each.close()


def _do(workspace: Workspace, what: str, number: int) -> None:
    if what == "version":
        workspace.create_model_version("m")
    elif what == "save":
        workspace.save_artifact(number % 3, "n")
    elif what == "promote":
        workspace.promote("m", "latest", "production")
    elif what == "tag":
        workspace.tag(workspace.models()[0], "good", number=str(number))
    elif len(workspace.stage_history("m")) > 1:
        with suppress(StageError):
            workspace.rollback("m", "production")


@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_anywhere_it_goes_on(here: Path, team: str, drystone: Command, way: str) -> None:
    filled(here, 300)
    stored = Workspace(here)
    for number in range(40):
        stored.save_artifact(list(range(number, number + 1000)), "n")
    stored.close()
    source, target, stack = str(here), team, "team"
    if way == "back":
        copy_workspace(here, team, stack="team")
        source, target, stack = team, "back", "dev"
    words = [str(Path(sys.executable).with_name("drystone")), "workspace", "copy", source, target, "--stack", stack]
    seed = random.randrange(1 << 32)
    chance, killed = random.Random(seed), 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, *words], env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 1.2))
        process.kill()
        killed += process.wait() != 0
    done = drystone("workspace", "copy", source, target, "--stack", stack)
    assert done.returncode == 0, f"seed {seed}, {killed} killed: {done.stderr}"
    assert bodies(source) == bodies(target), f"seed {seed}"
    used = Workspace(target)
    assert used.verify() == [], f"seed {seed}"
    assert len(used.artifacts(limit=None)) == 40
    used.close()


def test_another_history_is_left_alone(here: Path, team: str) -> None:
    filled(here, 3)
    copy_workspace(here, team, artifacts=False)
    filled(here, 1)
    filled(team, 2)
    with pytest.raises(WorkspaceError, match=r"holds another history than .*: commit 4 there is by .* Nothing was cop"):
        copy_workspace(here, team, artifacts=False)
    with pytest.raises(WorkspaceError, match="commit 4 there is by"):
        copy_workspace(team, here, artifacts=False)
    assert (len(bodies(here)), len(bodies(team))) == (4, 5)


def test_a_destination_that_somebody_else_writes_to_is_told(
    here: Path, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(here, 5)
    ledger = opened_ledger(team)
    kind, append = type(ledger), type(ledger).append

    def disturbed(self: object, commit: Commit) -> None:
        if commit.seq == 3:
            other = opened_ledger(team)
            append(other, next_commit(other.head(), [], "somebody else"))
        append(self, commit)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "append", disturbed)
        with pytest.raises(WorkspaceError, match=r"Somebody else writes to .* commit 3 there is not the one"):
            copy_workspace(here, team, artifacts=False)
    assert len(bodies(team)) == 3


def test_an_answer_that_was_wrong_is_looked_after(here: Path, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(here, 5)
    kind = type(opened_ledger(team))
    append = kind.append

    def unclear(self: object, commit: Commit) -> None:
        append(self, commit)
        if commit.seq % 2:
            raise LedgerConflict("somebody was faster") if commit.seq == 3 else OSError("reset")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "append", unclear)
        assert copy_workspace(here, team, artifacts=False).commits == 5
    assert bodies(here) == bodies(team)


def test_what_does_not_count_where_it_is_does_not_count_in_a_copy(here: Path, team: str) -> None:
    filled(team, 1)
    ledger = opened_ledger(team)
    moved = StageMoved(model="m", stage="production", number=1, previous=None, action="promote")
    ledger.append(next_commit(ledger.head(), [event_to_json(moved)]))
    with pytest.raises(WorkspaceError, match="Commit 2 moves a stage without a grant"):
        copy_workspace(team, here.parent / "back", artifacts=False)
    other = f"{team}-2"
    copy_workspace(team, other, artifacts=False)
    copied = opened_ledger(other)
    assert [copied.is_granted(each) for each in copied.read()] == [False, False]


def test_stage_moves_are_vouched_for_in_a_copy(here: Path, team: str) -> None:
    filled(here, 1)
    Workspace(here).promote("m", 1, "production")
    copy_workspace(here, team, artifacts=False)
    ledger = opened_ledger(team)
    assert [ledger.is_granted(each) for each in ledger.read()] == [False, True]


def test_a_workspace_whose_run_is_running_is_left_alone(here: Path, team: str, drystone: Command) -> None:
    (here.parent / "slow.py").write_text(SLOW)
    driver = subprocess.Popen([sys.executable, "slow.py"], stderr=subprocess.DEVNULL)
    try:
        while not Path("began").exists():
            assert driver.poll() is None
            time.sleep(0.02)
        with pytest.raises(WorkspaceError, match=r"slow-1 in .* must end first"):
            copy_workspace(here, team, artifacts=False)
    finally:
        driver.kill()
        driver.wait()
    assert copy_workspace(here, team, artifacts=False).head[0] > 0
    assert Workspace(team).run("slow-1").status == "crashed"


def test_wrong_locations_are_told(here: Path, team: str, drystone: Command) -> None:
    with pytest.raises(WorkspaceError, match=r"There is no workspace in nowhere\. That of a project is in its dir"):
        copy_workspace("nowhere", team)
    assert not Path("nowhere").exists()
    filled(here, 1)
    with pytest.raises(WorkspaceError, match="cannot be copied to itself"):
        copy_workspace(here, f"{here}/.")
    with pytest.raises(StackError, match=r"'dev' is one that only this machine can reach.*--no-artifacts"):
        copy_workspace(here, team)
    with pytest.raises(WorkspaceError, match=r"No plugin opens a workspace at nothing://"):
        copy_workspace(here, "nothing://there", artifacts=False)
    assert bodies(team) == []
    done = drystone("workspace", "copy", str(here), "nothing://there", "--no-artifacts")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_bytes_that_are_nowhere_are_told_and_all_else_is_copied(here: Path, team: str, drystone: Command) -> None:
    workspace = Workspace(here)
    kept, lost = workspace.save_artifact("kept", "kept"), workspace.save_artifact("lost", "lost")
    store = workspace.store_for(lost.manifest.store)
    store.delete(f"blobs/{lost.manifest.blobs[0].digest[:2]}/{lost.manifest.blobs[0].digest}")
    done = drystone("workspace", "copy", str(here), team, "--stack", "team")
    assert done.returncode == 1
    assert "1 blob could not be had from any store within reach" in done.stderr
    assert bodies(here) == bodies(team)
    assert Workspace(team).artifact("kept").manifest.copies
    assert not Workspace(team).artifact("lost").manifest.copies
    assert Workspace(team).artifact("kept").load() == kept.load()


def test_what_was_copied_is_told_as_json(here: Path, team: str, drystone: Command) -> None:
    filled(here, 2)
    (record,) = json.loads(drystone("workspace", "copy", str(here), team, "--no-artifacts", "--json").stdout)
    assert (record["commits"], record["ahead"], record["blobs_lost"]) == (2, 0, {})


def test_artifacts_are_pushed_and_pulled_by_command(here: Path, team: str, drystone: Command) -> None:
    ann = {"DRYSTONE_WORKSPACE": team, "XDG_CACHE_HOME": str(here.parent / "ann")}
    ben = {"DRYSTONE_WORKSPACE": team, "XDG_CACHE_HOME": str(here.parent / "ben")}
    assert drystone("run", "flow.py:sums", **ann).returncode == 0
    refused = drystone("models", "promote", "sums", "1", "production", **ann)
    assert refused.returncode == 1
    command = refused.stderr.partition("drystone artifacts push ")[2].split()[:-2]
    assert sorted(command) == ["sums.double@1", "sums.numbers@1", "sums.total@1"]
    pushed = drystone("artifacts", "push", *command, "--to", "team", **ann)
    assert (pushed.returncode, "0 there already" in pushed.stdout) == (0, True)
    assert "Blobs: 0 copied" in drystone("artifacts", "push", "--to", "team", **ann).stdout
    assert drystone("models", "promote", "sums", "1", "production", **ann).returncode == 0
    (here / "artifacts").rename(here / "gone")
    assert "copied" in drystone("artifacts", "pull", "sums.total", **ben).stdout
    for words in (["push", "nothing", "--to", "team"], ["push", "sums.total@7", "--to", "team"], ["push", "--to", "x"]):
        wrong = drystone("artifacts", *words, **ann)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert drystone("artifacts", "push", "sums.total", **ann).returncode == 2
    assert "only this machine can reach" in drystone("artifacts", "push", "--to", "dev", **ann).stderr
