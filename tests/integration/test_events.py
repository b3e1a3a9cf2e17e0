"""Plugins hear of what is saved and promoted, once it is committed; what they raise changes nothing."""

from __future__ import annotations

import logging

import pytest

from drystone import Model, Workspace, hookimpl, load_plugins, pipeline, save_artifact, step

walls = Model("walls")


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def drystone_artifact_saved(self, artifact_version):
        assert Workspace.current().artifact(artifact_version.name, artifact_version.version) == artifact_version
        self.heard.append(f"saved {artifact_version}")

    @hookimpl
    def drystone_step_finished(self, step_run):
        self.heard.append(f"finished {step_run.name}")

    @hookimpl
    def drystone_model_promoted(self, stage_move):
        self.heard.append(f"{stage_move.action} {stage_move.stage} {stage_move.previous} to {stage_move.number}")


class Broken:
    @hookimpl
    def drystone_artifact_saved(self, artifact_version):
        raise ValueError("no ears")

    @hookimpl
    def drystone_model_promoted(self, stage_move):
        raise ValueError("no eyes")


@step
def measure() -> list[int]:
    save_artifact("a note", "notes")
    return [1, 2]


@step
def square(n: int) -> int:
    return n * n


def promote(run):
    Workspace.current().promote(walls, run.model_version, "production")


@pipeline(model=walls, on_success=promote)
def training():
    return square.map(measure())


@pytest.fixture
def listener(workspace):
    listener = Listener()
    with load_plugins().observed(listener, "listener"):
        yield listener


def test_artifacts_are_told_once_each_before_their_step_is_done(listener):
    training()
    saved = ["saved notes@1", "saved training.measure@1", "finished measure"]
    assert sorted(listener.heard[:2]) == saved[:2]
    assert listener.heard[2] == "finished measure"
    assert listener.heard[3:] == ["saved training.square@1", "finished square", "promote production None to 1"]
    listener.heard.clear()
    training()  # from the cache: nothing is saved
    assert [each for each in listener.heard if each.startswith("saved")] == []


def test_what_is_saved_and_moved_outside_a_run_is_told(listener, workspace):
    workspace.save_artifact(1, "limit")
    for number in (1, 2):
        workspace.create_model_version(walls)
        workspace.promote(walls, number, "production")
    workspace.rollback(walls, "production")
    assert listener.heard == [
        "saved limit@1",
        "promote production None to 1",
        "promote production 1 to 2",
        "rollback production 2 to 1",
    ]


def test_what_a_listener_raises_changes_nothing_and_is_on_record(workspace, caplog):
    with load_plugins().observed(Broken(), "broken"), caplog.at_level(logging.WARNING):
        run = training()
        workspace.save_artifact(1, "limit")
    assert run.status == "succeeded"
    errors = Workspace.current().run(run.name).metadata["hook_errors"]
    assert len(errors) == 3, errors
    assert all("drystone_artifact_saved" in each and "ValueError: no ears" in each for each in errors)
    assert [record.message.partition(" raised ")[2] for record in caplog.records] == [
        "ValueError: no eyes",
        "ValueError: no ears",
    ]


def test_the_command_line_tells_of_promotions(project, command):
    (project / "walls.py").write_text(
        "from drystone import Model, Workspace, pipeline, step\n"
        "walls = Model('walls')\n"
        "def promote(run):\n    Workspace.current().promote(walls, run.model_version, 'production')\n"
        "@step\ndef fit() -> int:\n    return 1\n"
        "@pipeline(model=walls, on_success=promote)\ndef training():\n    return fit()\n"
    )
    said = command("run", "walls.py:training")
    assert "  walls@1 is production now\n" in said.err
