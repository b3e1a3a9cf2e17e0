"""The plugin as its users meet it: found by name, described by its README, with a command and a listener."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from drystone import Model, Workspace, load_plugins, pipeline, step
from drystone_example import SqliteArtifactStore, ThreadPoolOrchestrator
from drystone_example.commands import compact

README = (Path(__file__).parents[1] / "README.md").read_text()
COMPONENTS = (ThreadPoolOrchestrator, SqliteArtifactStore)

bridges = Model("bridges")


@step
def span(metres: int) -> int:
    """How far a bridge goes."""
    return 2 * metres


@pipeline(model=bridges)
def building(metres: int = 4) -> int:
    """A pipeline that makes a version of a model."""
    return span(metres)


@pytest.fixture
def stacks(drystone_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A project with the stack of the README; returns its workspace."""
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "stacks.py").write_text(example)
    return drystone_workspace


def test_its_components_are_found_by_name() -> None:
    """As the command line finds them."""
    plugins = load_plugins()
    assert plugins.component("orchestrator", "threadpool") is ThreadPoolOrchestrator
    assert plugins.component("artifact_store", "sqlite") is SqliteArtifactStore


def test_the_stack_in_the_readme_runs_pipelines(stacks: Workspace, tmp_path: Path) -> None:
    """Everything ends up in the file that it names."""
    run = building()
    assert (run.stack, run.output.load()) == ("notes", 8)
    assert (tmp_path / "notes.sqlite").is_file()


def test_the_readme_names_every_setting() -> None:
    """With its default."""
    rows = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.+?)` \|", README, re.MULTILINE))
    fields = {(cls.__name__, each.name, repr(each.default)) for cls in COMPONENTS for each in attrs.fields(cls)}
    assert rows == fields


def test_artifacts_and_promotions_are_logged(stacks: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """With what they are about."""
    with caplog.at_level(logging.DEBUG, logger="drystone_example"):
        stacks.promote("bridges", building().model_version.number, "production")
    saved, promoted = (each.getMessage() for each in caplog.records)
    assert re.fullmatch(r"building\.span@1 has \d+ bytes", saved)
    assert promoted == "bridges 1 is production now, says tests@localhost"


def test_the_command_compacts_the_store_of_a_stack(stacks: Workspace, tmp_path: Path) -> None:
    """The active one, by default."""
    building()
    done = CliRunner().invoke(compact)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"sqlite:\w{32}: [\d,]+ bytes given back\.\n", done.output)


def test_a_stack_with_another_store_is_refused(stacks: Workspace) -> None:
    """The message says what it has."""
    done = CliRunner().invoke(compact, ["default"])
    assert done.exit_code == 2
    assert "which has nothing to compact. Name a stack with a SqliteArtifactStore." in done.output


def test_importing_it_is_light() -> None:
    """Neither the command line's library nor that of hooks is loaded."""
    probe = "import sys, drystone_example; print(sorted({'click', 'pluggy', 'fsspec', 'cattrs'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True) == "[]\n"
