"""A workspace behind a URL, used by two machines: two processes that share nothing but its directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from drystone import Workspace, find_stacks, hookimpl, load_plugins
from drystone.errors import StageError, WorkspaceError
from drystone.locks import LeaseLock
from drystone.testing import MemoryLedger

PIPELINE = """
import time
from pathlib import Path

from drystone import pipeline, step


@step
def first() -> int:
    with open("firsts", "a") as file:
        file.write("x")
    return 1


@step
def second(x: int) -> int:
    Path("second-began").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return x + 1


@pipeline
def small() -> int:
    return second(first())


if __name__ == "__main__":
    small()
"""


@attrs.frozen
class Machine:
    """One of those who share the workspace: has a home of its own."""

    project: Path
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """With the workspace's URL and where this machine keeps its copy."""
        shared = {"DRYSTONE_WORKSPACE": f"file://{self.project}/team", "XDG_CACHE_HOME": str(self.project / self.name)}
        return {**os.environ, **shared}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a process."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> str:
        """What a command line of drystone prints; it has to go well."""
        return self.do(str(Path(sys.executable).with_name("drystone")), *words)

    def do(self, *words: str) -> str:
        """What a process prints; it has to go well."""
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        return out

    def open(self) -> Workspace:
        """The workspace in this very process, with this machine's copy."""
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = self.environment["XDG_CACHE_HOME"]
        try:
            return Workspace(self.environment["DRYSTONE_WORKSPACE"])
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture
def ann(project: Path) -> Machine:
    (project / "flow.py").write_text(PIPELINE)
    return Machine(project, "ann")


@pytest.fixture
def ben(ann: Machine) -> Machine:
    return Machine(ann.project, "ben")


@pytest.fixture
def driver(ann: Machine) -> Iterator[subprocess.Popen[str]]:
    """A driver of Ann's that is inside its second step."""
    process = ann.start("flow.py")
    until((ann.project / "second-began").exists, process)
    yield process
    process.kill()
    process.communicate()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def expire(workspace: Workspace) -> None:
    """Let the lease of the one running driver be over, as if its time had passed."""
    with workspace.reading() as records:
        (run,) = records.index.running()
    lock = workspace.lock(run["lock"])
    assert isinstance(lock, LeaseLock)
    assert lock.ledger.lease(lock.name, lock.name, 0)


def leases(machine: Machine) -> list[str]:
    return os.listdir(machine.project / "team" / "leases")


def test_a_killed_driver_is_told_as_crashed_elsewhere_and_its_run_resumed(
    ann: Machine, ben: Machine, driver: subprocess.Popen[str]
) -> None:
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert "running" in ben.run("runs", "list"), "until its lease is over, nobody can tell"
    expire(ann.open())
    assert "crashed" in ben.run("runs", "list")
    assert leases(ann) == []
    (ann.project / "go").touch()
    ben.run("resume", "small-1")
    assert "succeeded" in ann.run("runs", "list")
    assert (ann.project / "firsts").read_text() == "x", "what was done is kept"
    assert "Everything is whole." in ann.run("workspace", "verify")
    assert leases(ann) == []


def test_a_driver_that_was_taken_for_dead_ends(ann: Machine, ben: Machine, driver: subprocess.Popen[str]) -> None:
    expire(ben.open())
    assert ben.open().run("small-1").status == "crashed"
    _, err = driver.communicate(timeout=60)
    assert "RunLostError: Run small-1 was taken for dead" in err
    assert ann.open().run("small-1").status == "crashed", "its driver has not the last word"
    assert leases(ann) == []


def test_a_driver_whose_run_was_resumed_elsewhere_ends(
    ann: Machine, ben: Machine, driver: subprocess.Popen[str]
) -> None:
    driver.send_signal(signal.SIGSTOP)
    expire(ben.open())
    (ann.project / "go").touch()
    ben.run("resume", "small-1")
    driver.send_signal(signal.SIGCONT)
    _, err = driver.communicate(timeout=60)
    assert "RunLostError: Run small-1 was taken" in err
    run = ann.open().run("small-1")
    assert (run.status, run.output.load()) == ("succeeded", 2)
    assert [each.version for each in ann.open().artifacts(name=run.output.name)] == [1], "its effect is there once"


def test_a_run_is_cancelled_from_elsewhere(ann: Machine, ben: Machine, driver: subprocess.Popen[str]) -> None:
    ben.run("cancel", "small-1")
    _, err = driver.communicate(timeout=60)
    assert "RunCancelledError: Run small-1 was cancelled by tester@example.org" in err
    assert ben.open().run("small-1").status == "cancelled"


def test_a_lease_is_renewed_as_long_as_its_driver_lives(ann: Machine) -> None:
    workspace = ann.open()
    shared = workspace.lock().ledger  # type: ignore[union-attr]
    with LeaseLock(shared, seconds=0.3):
        end = time.monotonic() + 60
        while (renewed := max(int(name.partition(".")[2]) for name in leases(ann))) < 4 and time.monotonic() < end:
            time.sleep(0.02)
    assert renewed >= 4
    assert leases(ann) == []


def test_stages_are_moved_by_everybody_and_held_by_one(ann: Machine, ben: Machine) -> None:
    both = ann.open(), ben.open()
    for workspace in both:
        workspace.promote("m", workspace.create_model_version("m"), "production")
    assert [each.model_version("m", "production").number for each in both] == [2, 2]
    with pytest.raises(StageError, match="held by m@2, not by m@1"):
        both[0].promote("m", 1, "production", expect=1)
    assert both[0].rollback("m", "production").number == 1
    assert both[1].model_version("m", "production").number == 1
    assert both[0].stage_history("m") == both[1].stage_history("m")


def test_stacks_py_says_where_the_workspace_is(ann: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = ann.environment["DRYSTONE_WORKSPACE"]
    (ann.project / "stacks.py").write_text(f"from drystone import Workspace\nworkspace = Workspace({url!r})\n")
    (ann.project / "go").touch()
    monkeypatch.setattr(Machine, "environment", {**os.environ, "XDG_CACHE_HOME": str(ann.project / "ann")})
    ann.do("flow.py")
    assert "small-1" in ann.run("runs", "list")
    assert url in ann.run("workspace", "info")
    assert "Everything is whole." in ann.run("workspace", "verify")
    assert f'"location": "{url}"' in ann.run("workspace", "rebuild", "--json")
    assert not (ann.project / ".drystone" / "workspace.db").exists()


def test_values_outlive_the_copy_of_the_ledger(ann: Machine, ben: Machine) -> None:
    (ann.project / "go").touch()
    ann.do("flow.py")
    assert not list((ann.project / "ann").rglob("artifacts")), "the copy can be deleted at any time"
    assert ben.open().run("small-1").output.load() == 2


def test_a_stack_published_elsewhere_is_found_before_anything_is_here(
    ann: Machine, ben: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.open().publish(find_stacks().get("default").evolve("wide"))
    for name in ("DRYSTONE_WORKSPACE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, ben.environment[name])
    assert not (ann.project / ".drystone").exists()
    assert find_stacks().get("wide").name == "wide"


def test_a_plugin_brings_a_scheme(ann: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(ann.project / "ann"))
    ledgers: dict[str, MemoryLedger] = {}

    class Scratch:
        @hookimpl
        def drystone_ledgers(self) -> dict[str, Callable[[str], MemoryLedger]]:
            return {"scratch": lambda url: ledgers.setdefault(url, MemoryLedger(url))}

    with load_plugins().observed(Scratch(), "scratch"):
        workspace = Workspace("scratch://desk")
        workspace.create_model_version("m")
        monkeypatch.setenv("XDG_CACHE_HOME", str(ann.project / "ben"))
        assert Workspace("scratch://desk").model_version("m", 1).number == 1
        assert workspace.info()["location"] == "scratch://desk"
    with pytest.raises(WorkspaceError, match=r"No plugin opens .* scratch://\. Installed: file://"):
        Workspace("scratch://desk")


def test_a_new_machine_begins_with_a_checkpoint_that_somebody_kept(ann: Machine, ben: Machine) -> None:
    (ann.project / "go").touch()
    ann.do("flow.py")
    assert "begin with it" in ann.run("workspace", "checkpoint")
    (ann.project / "team" / "commits" / f"{1:020}").rename(ann.project / "hidden")
    assert "small-1" in ben.run("runs", "list"), "it does not read what the checkpoint has"
    (ann.project / "hidden").rename(ann.project / "team" / "commits" / f"{1:020}")
    assert "Everything is whole." in ben.run("workspace", "verify")


def test_info_tells_how_new_it_is_and_who_wrote(ann: Machine, ben: Machine) -> None:
    (ann.project / "go").touch()
    ann.do("flow.py")
    told = ben.run("workspace", "info")
    for name in ("reachable:", "lag:", "fetched at:", "age:", "round trip:", "size:", "writers:"):
        assert name in told
    assert "tester@example.org@" in told
    (info,) = json.loads(ben.run("workspace", "info", "--json"))
    assert (info["reachable"], info["lag"], len(info["writers"])) == (True, 0, 1)


OFFLINE = """
import os
from pathlib import Path

from drystone import hookimpl
from drystone.errors import WorkspaceUnreachableError
from drystone import FilesystemLedger, FsspecArtifactStore


class Wire(FilesystemLedger):
    def __init__(self, url):
        if Path("cut").exists():
            raise WorkspaceUnreachableError("wire://team does not answer.")
        super().__init__(FsspecArtifactStore(url=f"file://{Path.cwd()}/team"))


@hookimpl
def drystone_ledgers():
    return {"wire": Wire}
"""
"""A plugin whose ledger is out of reach while there is a file."""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_commands_say_on_stderr_how_old_it_is_what_they_show(
    ann: Machine, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    (ann.project / "go").touch()
    (ann.project / "wires.py").write_text(OFFLINE)
    environment = {**ann.environment, "DRYSTONE_WORKSPACE": "wire://team", "DRYSTONE_PLUGINS": "wires.py"}
    monkeypatch.setattr(Machine, "environment", environment)
    ann.do("flow.py")
    (ann.project / "cut").touch()
    script = str(Path(sys.executable).with_name("drystone"))
    process = ann.start(script, "runs", "list", *options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "small-1" in out
    (line,) = err.splitlines()
    assert line.startswith("What follows is as old as ")
    assert line.endswith("wire://team does not answer.")
    process = ann.start(script, "models", "promote", "m", "1", "production")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].endswith("wire://team does not answer. Nothing of this was recorded.")
