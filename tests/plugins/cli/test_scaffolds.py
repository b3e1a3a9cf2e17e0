"""`drystone plugins new`: what it writes is installed in a fresh environment, and its tests pass there at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drystone_cli.scaffolds import LONGEST, NOUNS, OFFICIAL, Scaffold, new

KINDS = [*NOUNS, "feature_store"]
HERE = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]


def run(*command: str | Path, folder: Path, scripts: Path) -> None:
    """A command in a folder and an environment, which must succeed."""
    variables = {"VIRTUAL_ENV": str(scripts.parent), "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def wrong(*arguments: str) -> str:
    """What a command line that is refused is told."""
    done: Result = CliRunner().invoke(new, arguments)
    assert done.exit_code == 2, done.output
    return done.output.rpartition("Error: ")[2].strip()


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_is_installed_typed_linted_and_passes_its_contract(
    kind: str, project: Path, environment: Path
) -> None:
    done = CliRunner().invoke(new, [kind, "quarry-east", "--description", 'Stones of "the" east: \\ ä.'])
    assert done.exit_code == 0, done.output
    assert "cd drystone-quarry-east" in done.output
    home = project / "drystone-quarry-east"
    run(HERE / "uv", "pip", "install", "--quiet", "--no-deps", "--editable", ".", folder=home, scripts=environment)
    run("pytest", "-q", "-p", "no:cacheprovider", folder=home, scripts=environment)
    run("drystone", "plugins", "doctor", folder=home, scripts=environment)
    run(HERE / "ruff", "check", ".", folder=home, scripts=environment)
    run(HERE / "ruff", "format", "--check", ".", folder=home, scripts=environment)
    run(HERE / "mypy", "--python-executable", environment / "python", folder=home, scripts=environment)


@pytest.mark.parametrize("name", ["x", "a" * LONGEST, "ab-1-c2"])
@pytest.mark.parametrize("kind", [*KINDS, "k" * LONGEST])
def test_lines_fit_and_files_are_formatted_whatever_the_name(kind: str, name: str, project: Path) -> None:
    assert CliRunner().invoke(new, [kind, name, "--directory", "made"]).exit_code == 0
    for command in (["check", "."], ["format", "--check", "."]):
        run(HERE / "ruff", *command, folder=project / "made", scripts=HERE)


@pytest.mark.parametrize(
    ("given", "distribution", "package"),
    [
        ("Slurm", "drystone-slurm", "drystone_slurm"),
        ("drystone-slurm", "drystone-slurm", "drystone_slurm"),
        ("two_words", "drystone-two-words", "drystone_two_words"),
        ("a.b__c", "drystone-a-b-c", "drystone_a_b_c"),
    ],
)
def test_names_are_those_of_distributions_and_packages(
    given: str, distribution: str, package: str, project: Path
) -> None:
    assert CliRunner().invoke(new, ["orchestrator", given]).exit_code == 0
    settings = tomllib.loads((project / distribution / "pyproject.toml").read_text())
    assert settings["project"]["name"] == distribution
    assert settings["project"]["dependencies"][0] == "drystone-core>=0.1,<0.2"
    assert (project / distribution / "src" / package / "py.typed").is_file()


def test_a_script_is_told_what_was_written(project: Path) -> None:
    done = CliRunner().invoke(new, ["orchestrator", "slurm", "--json"])
    assert json.loads(done.stdout) == [
        {"distribution": "drystone-slurm", "package": "drystone_slurm", "directory": "drystone-slurm"}
    ]


@pytest.mark.parametrize("name", ["", "-x", "x-", "3d", "a b", "a/b", "../x", "ä", "drystone-"])
def test_what_is_no_name_is_refused(name: str, project: Path) -> None:
    assert "cannot be a name: it is letters, digits and hyphens" in wrong("--", "orchestrator", name)
    assert [*project.glob("*/")] == []


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_our_own_names_are_refused(name: str, project: Path) -> None:
    assert f"drystone-{name} is a name of Drystone's own packages. Choose another name." in wrong("orchestrator", name)


@pytest.mark.parametrize("kind", ["", "Feature Store", "class", "3d", "x" * 50, "a", "feature_"])
def test_what_is_no_kind_is_refused(kind: str, project: Path) -> None:
    assert "cannot be a kind: it is a keyword of stacks" in wrong(kind, "x")


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("orchestrater", "orchestrator"), ("artifacts_store", "artifact_store"), ("schedulers", "scheduler")],
)
def test_a_misspelt_kind_is_not_taken_for_a_new_one(kind: str, meant: str, project: Path) -> None:
    assert f"{kind!r} would be a kind of its own, and looks like {meant!r}." in wrong(kind, "x")


@pytest.mark.parametrize(
    ("kind", "name", "taken"),
    [("materializer", "none", "None"), ("materializer", "artifact", "Artifact"), ("a_b_c", "x", "ABC")],
)
def test_a_class_that_could_not_be_called_so_is_refused(kind: str, name: str, taken: str, project: Path) -> None:
    assert wrong(kind, name) == f"A class would be called {taken}, and that name is taken. Choose another."
    assert [*project.glob("*/")] == []


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    command = [HERE / "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT / "plugins/cli"]
    subprocess.run(command, check=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".template")}
    source = ROOT / "plugins/cli/src"
    assert packed == {path.relative_to(source).as_posix() for path in source.rglob("*.template")}
    assert "drystone_cli/templates/every/.gitignore.template" in packed


def test_a_kind_without_a_template_is_told_its_contract(project: Path) -> None:
    assert "inherit drystone.testing.ContainerRegistryContract" in " ".join(wrong("container-registry", "x").split())


@pytest.mark.parametrize("text", ["", "two\nlines"])
def test_a_description_is_one_line(text: str, project: Path) -> None:
    assert "A description is one line, and not empty." in wrong("orchestrator", "x", "--description", text)


def test_what_is_there_is_never_overwritten(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine/notes.txt").write_text("kept")
    assert "mine is there already, and nothing in it was changed." in wrong("orchestrator", "x", "--directory", "mine")
    assert [each.name for each in (project / "mine").iterdir()] == ["notes.txt"]


def test_where_writing_fails_nothing_half_is_left(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a.txt": "a", "a.txt/b.txt": "a file cannot be a directory"}
    monkeypatch.setattr(Scaffold, "contents", lambda self: contents)
    with pytest.raises(OSError, match=r"a\.txt"):
        Scaffold(kind="orchestrator", entry="x", description="x").write(project / "made")
    assert not (project / "made").exists()
