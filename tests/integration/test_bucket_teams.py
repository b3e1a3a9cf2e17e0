"""A team on a bucket: all commit at once, a step is computed once, and nobody speaks for a run that is not theirs."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drystone.testing.teams import Team as Crowd
from services.seaweed import S3Server
from services.teams import STACKS, Team, ended

FLOW = """
import time
from pathlib import Path
from typing import Annotated

from drystone import pipeline, save_artifact, step


@step
def slow() -> Annotated[int, "made"]:
    with open("computed", "a") as file:
        file.write("x")
    save_artifact("once", "side")
    while not Path("go").exists():
        time.sleep(0.02)
    return 1


@step
def after(x: int) -> Annotated[int, "last"]:
    return x + 1


@pipeline
def flow() -> int:
    return after(slow())


if __name__ == "__main__":
    print(flow().output.load())
"""


@pytest.fixture
def team(project: Path, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.admin.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.admin.secret)
    (project / "flow.py").write_text(FLOW)
    return Team.on_bucket(project, s3_server.endpoint_url, s3_bucket)


@pytest.fixture
def ann(team: Team) -> Iterator[subprocess.Popen[str]]:
    """A driver of Ann's that is inside the slow step."""
    with ended(team.start("ann", "flow.py")) as driver:
        until((team.project / "computed").exists, driver)
        yield driver


def until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait for something that living processes do."""
    end = time.monotonic() + 90
    while not condition():
        assert all(process.poll() is None for process in processes), [each.communicate() for each in processes]
        assert time.monotonic() < end
        time.sleep(0.02)


def statuses(team: Team) -> dict[str, str]:
    """Of all runs, as somebody else sees them."""
    script = "from drystone import Workspace; print({r.name: r.status for r in Workspace.current().runs()})"
    return dict(json.loads(team.do("eve", "-c", script).replace("'", '"')))


def expire(team: Team, run: str) -> None:
    """Let the lease of a run's driver be over, as if its time had passed."""
    script = f"from drystone import Workspace; from services.laws import expire; expire(Workspace.current(), {run!r})"
    team.do("eve", "-c", script)


def said(driver: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = driver.communicate(timeout=90)
    return driver.returncode, out.strip(), err


def test_eight_machines_commit_two_hundred_runs_at_once(team: Team, s3_bucket: str) -> None:
    crowd = Crowd(team.project, STACKS.format(bucket=s3_bucket), environment=team.settings)
    crowd.work(people=8, runs=25)
    crowd.check(people=8, runs=25)
    found = json.loads(team.do("eve", "-m", "services.laws"))
    assert sorted(found) == sorted(f"work-{number}" for number in range(1, 201))
    assert {before for before, *_ in found.values()} == {"succeeded"}


def test_two_who_ask_for_one_step_compute_it_once(team: Team, ann: subprocess.Popen[str]) -> None:
    with ended(team.start("ben", "flow.py")) as ben:
        until(lambda: statuses(team) == {"flow-1": "running", "flow-2": "running"}, ann, ben)
        (team.project / "go").touch()
        assert [said(driver)[:2] for driver in (ann, ben)] == [(0, "2"), (0, "2")]
    assert (team.project / "computed").read_text() == "x"
    assert statuses(team) == {"flow-1": "succeeded", "flow-2": "succeeded"}


def test_who_waits_for_a_dead_holder_takes_over_after_its_lease(team: Team, ann: subprocess.Popen[str]) -> None:
    with ended(team.start("ben", "flow.py")) as ben:
        until(lambda: statuses(team) == {"flow-1": "running", "flow-2": "running"}, ann, ben)
        ann.kill()
        ann.wait()
        assert statuses(team)["flow-1"] == "running", "until its lease is over, nobody can tell"
        (team.project / "go").touch()
        expire(team, "flow-1")
        assert said(ben)[:2] == (0, "2")
    assert (team.project / "computed").read_text() == "xx"
    assert statuses(team) == {"flow-1": "crashed", "flow-2": "succeeded"}
    assert json.loads(team.do("eve", "-m", "services.laws")).keys() == {"flow-1", "flow-2"}, "and it can be resumed"


def test_a_zombie_whose_run_was_taken_over_commits_nothing(team: Team, ann: subprocess.Popen[str]) -> None:
    ann.send_signal(signal.SIGSTOP)
    expire(team, "flow-1")
    (team.project / "go").touch()
    resume = "from drystone import Workspace; print(Workspace.current().resume('flow-1').output.load())"
    assert team.do("ben", "-c", resume).strip() == "2"
    ann.send_signal(signal.SIGCONT)
    code, out, err = said(ann)
    assert (code, out) == (1, "")
    assert "RunLostError: Run flow-1 was taken" in err
    assert statuses(team) == {"flow-1": "succeeded"}
    team.do("eve", "-m", "services.laws")
