"""Plugins and the command line: states, files as plugins, commands, and thirty plugins of which three are broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from drystone_cli.main import main

Run = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]

START = "import sys; from drystone_cli.main import main; sys.exit(main(sys.argv[1:]))"

GREET = """
    import click
    from drystone import hookimpl

    @click.command("{name}")
    def greet():
        print("hello")

    @hookimpl
    def drystone_commands():
        return [greet]
"""


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Installs a distribution into the folder `site`: a module, an entry point of a plugin, and others."""

    def installed(name: str, source: str, *, entry: str | None = None, requires: str = "", commands: str = "") -> None:
        site = tmp_path / "site"
        info = site / f"acme_{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (site / f"acme_{name}.py").write_text(textwrap.dedent(source))
        header = f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.2\n"
        (info / "METADATA").write_text(header + (f"Requires-Dist: {requires}\n" if requires else ""))
        extra = f"[drystone.commands]\n{commands}\n" if commands else ""
        (info / "entry_points.txt").write_text(f"[drystone]\n{entry or name} = acme_{name}\n{extra}")

    return installed


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Run:
    """Runs a command line in a process of its own that sees what is installed."""

    def command(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", START, *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return command


FINE = """
    import attrs
    from drystone import FsspecArtifactStore, hookimpl

    @attrs.frozen(kw_only=True)
    class Store{number}(FsspecArtifactStore):
        name = "store{number}"

    @hookimpl
    def drystone_components():
        return [Store{number}]
"""


def test_with_thirty_plugins_three_of_them_broken_help_loads_none_and_doctor_names_the_three(install, run):
    for number in range(27):
        install(f"fine{number}", FINE.format(number=number), commands=f"c{number} = acme_fine{number}:no")
    install("unimportable", "import no_such_library")
    install("misspelt", FINE.format(number=99).replace("drystone_components", "drystone_component"))
    install("leaves", "raise SystemExit('no licence')")
    code = (
        "import sys; from drystone_cli.main import main; main(['--help']); "
        "print(sorted(name for name in sys.modules if name.startswith(('acme', 'drystone.'))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path("site").resolve())}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "c0   " in shown.stdout
    assert "From acme-fine0." in shown.stdout
    assert shown.stdout.splitlines()[-1] == "[]"
    assert shown.stderr == ""

    doctor = run("plugins", "doctor", code=1).stdout
    assert "'unimportable' of acme-unimportable 1.2 is installed but broken: ModuleNotFoundError" in doctor
    assert "'misspelt' of acme-misspelt 1.2 is installed but broken: It implements a hook 'drystone_comp" in doctor
    assert "'leaves' of acme-leaves 1.2 is installed but broken: SystemExit: no licence" in doctor
    assert "fine" not in doctor
    assert doctor.count("Traceback") == 2
    records = json.loads(run("plugins", "list", "--json").stdout)
    states = {record["name"]: record["state"] for record in records if record["distribution"].startswith("acme")}
    assert len(states) == 30
    assert [name for name, state in states.items() if state == "broken"] == ["leaves", "misspelt", "unimportable"]


def test_doctor_explains_every_state_in_json(install, run, project):
    install("fine", FINE.format(number=1))
    install("twin", FINE.format(number=2), entry="same")
    install("other", FINE.format(number=3), entry="same")
    install("claims", FINE.format(number=1))
    install("future", "raise SystemExit", requires="drystone-core>=7")
    install("off", "raise SystemExit")
    install("late", "from drystone import hookimpl\n@hookimpl\ndef drystone_stacks():\n    return 1 / 0\n")
    (project / "pyproject.toml").write_text('[tool.drystone]\nrequired_plugins = ["acme-absent"]\n')
    done = run("plugins", "doctor", "--json", code=1, DRYSTONE_PLUGINS_DISABLE="off,treads")
    records = json.loads(done.stdout)
    assert done.stderr == ""
    states = {record["distribution"]: record["state"] for record in records if record["name"]}
    assert (
        states.items()
        >= {
            "acme-fine": "conflicting",
            "acme-claims": "conflicting",
            "acme-future": "incompatible",
            "acme-twin": "conflicting",
            "acme-other": "conflicting",
            "acme-off": "blocked",
            "acme-late": "broken",
            "drystone-local": "active",
            "drystone-data": "active",
        }.items()
    )
    assert {tuple(record) for record in records} == {
        ("name", "distribution", "version", "module", "state", "error", "traceback", "offers", "notes")
    }
    known = {record["distribution"]: record for record in records}
    assert known["acme-late"]["error"] == "ZeroDivisionError: division by zero"
    assert known["acme-late"]["traceback"].startswith("Traceback")
    assert known["drystone-local"]["offers"]["components"] == ["artifact_store:local", "orchestrator:local"]
    assert known["acme-future"]["error"].startswith(f"it requires drystone-core>=7, and {version('drystone-core')} is")
    assert [record["error"].partition(", but")[0].partition("\n")[0] for record in records if not record["name"]] == [
        "DRYSTONE_PLUGINS_DISABLE names 'treads'",
        f"{project / 'pyproject.toml'} requires plugins. acme-absent is not installed.",
    ]


def test_no_plugins_loads_none_of_those_installed(install, run):
    install("board", GREET.format(name="board"), commands="board = acme_board")
    records = json.loads(run("--no-plugins", "plugins", "list", "--json").stdout)
    assert {record["state"] for record in records} == {"blocked"}
    assert "board" not in run("--no-plugins", "--help").stdout
    assert "There is no command 'board'." in run("--no-plugins", "board", code=2).stderr
    assert "There is no command 'board'." in run("board", code=2, DRYSTONE_PLUGINS_DISABLE="board").stderr


@pytest.mark.parametrize("commands", ["", "greet = acme_greet", "greet = acme_greet:greet"])
def test_a_command_is_found_by_its_entry_point_and_without_one_by_the_hook(install, run, commands):
    install("greet", GREET.format(name="greet"), commands=commands)
    assert run("greet").stdout == "hello\n"
    assert ("greet" in run("--help").stdout) == bool(commands)
    doctor = run("plugins", "doctor").stdout
    noted = "no entry point names it" in doctor and '[project.entry-points."drystone.commands"]: greet = ' in doctor
    assert noted == (not commands)


def test_an_entry_point_to_a_module_without_the_command_is_explained(install, run):
    install("greet", GREET.format(name="greet"), commands="hello = acme_greet")
    assert "whose drystone_commands offers no command of that name" in run("hello", code=1).stderr


def test_a_command_that_two_distributions_name_is_an_error_naming_both(install, run):
    install("one", GREET.format(name="greet"), commands="greet = acme_one")
    install("two", GREET.format(name="greet"), commands="greet = acme_two")
    assert "Both acme-one and acme-two offer a command named 'greet'." in run("greet", code=1).stderr


def test_an_unknown_command_is_explained_by_a_broken_plugin(install, run):
    install("broken", "import no_such_library")
    assert "'broken' of acme-broken 1.2 is installed but broken" in run("frobnicate", code=2).stderr


# --- files ------------------------------------------------------------------------------------------------------------

STONE = """
    import attrs
    import click
    from drystone import Materializer, StackComponent, Stack, get_context, hookimpl
    from drystone_local import LocalArtifactStore, LocalOrchestrator

    @attrs.frozen(kw_only=True)
    class StoneArtifactStore(LocalArtifactStore):
        pass

    @click.command("greet")
    def greet():
        print("hello")

    @hookimpl
    def drystone_commands():
        return [greet]

    @hookimpl
    def drystone_run_finished(run):
        print("heard", run.name)

    @hookimpl
    def drystone_stacks():
        store = StoneArtifactStore(path="blobs")  # older attrs make every field of a kw_only class so
        return [Stack("stone", orchestrator=LocalOrchestrator(workers=2), artifact_store=store)]
"""

FLOWS = """
import os

from drystone import pipeline, step

@step
def first() -> int:
    return os.getpid()

@step
def second() -> int:
    return os.getpid()

@step
def elsewhere(driver: int, first: int, second: int) -> None:
    assert driver not in (first, second)

@pipeline
def two(driver: int = 0):
    elsewhere(driver or os.getpid(), first(), second())
"""


@pytest.fixture
def stone(project: Path) -> Path:
    file = project / "stone.py"
    file.write_text(textwrap.dedent(STONE))
    return file


def test_a_file_brings_commands_which_help_lists(stone, run):
    assert run("--plugin", "stone.py", "greet").stdout == "hello\n"
    assert re.search(r"^ +greet +From stone\.py\.$", run("--plugin", "stone.py", "--help").stdout, re.MULTILINE)
    assert "greet" not in run("--help").stdout


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_file_is_loaded_in_workers_as_well(stone, run, project, tmp_path_factory, is_inside):
    (project / "flows.py").write_text(FLOWS)
    file = stone if is_inside else stone.rename(tmp_path_factory.mktemp("elsewhere") / "stone.py")
    done = run("--plugin", str(file), "run", "flows:two", "--stack", "stone")
    assert "heard two-1" in done.stdout
    assert (project / "blobs").is_dir()


def test_a_file_is_loaded_in_a_detached_run_as_well(stone, run, project):
    (project / "flows.py").write_text(FLOWS)
    record = json.loads(
        run("--plugin", "stone.py", "run", "flows:two", "--stack", "stone", "--detach", "--json").stdout
    )[0]
    run("logs", record["run"], "--follow")
    assert (project / "blobs").is_dir()


def test_a_file_of_the_project_is_the_module_that_the_project_imports(stone, run, project):
    (project / "stacks.py").write_text("from stone import StoneArtifactStore")
    (project / "check.py").write_text(
        "from drystone import find_stacks, load_plugins\n"
        "find_stacks()\n"
        "import stone, sys\n"
        "[stack, *_] = [s for s, p in load_plugins().offered('drystone_stacks') if s.name == 'stone']\n"
        "assert type(stack.artifact_store) is stone.StoneArtifactStore\n"
        "print(load_plugins().all[-1].module)\n"
    )
    environment = {**os.environ, "DRYSTONE_PLUGINS": "stone.py"}
    done = subprocess.run([sys.executable, "check.py"], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("stone\n", "")


def test_a_file_goes_with_no_plugins_and_is_listed(stone, run):
    records = json.loads(run("--no-plugins", "--plugin", "stone.py", "plugins", "list", "--json").stdout)
    states = {record["name"]: record["state"] for record in records}
    assert [name for name, state in states.items() if state != "blocked"] == ["stone.py"]
    assert {"data", "local"} < {*states}
    assert records[-1]["offers"]["stacks"] == ["stone"]
    assert records[-1]["notes"] == []


def test_options_for_plugins_end_with_the_command_line(stone, monkeypatch, capsys):
    monkeypatch.delenv("DRYSTONE_PLUGINS", raising=False)
    assert main(["--plugin", "stone.py", "--no-plugins", "plugins", "list"]) == 0
    assert "stone.py" in capsys.readouterr().out
    assert main(["plugins", "list"]) == 0
    out = capsys.readouterr().out
    assert "stone.py" not in out
    assert re.search(r"^local +active ", out, re.MULTILINE)
    assert "DRYSTONE_PLUGINS" not in os.environ
    sys.modules.pop("stone")


def test_a_file_that_is_not_there_is_wrong_usage(run):
    assert "'--plugin': File 'absent.py' does not exist" in run("--plugin", "absent.py", "runs", code=2).stderr


def test_a_run_with_a_trace_tells_hook_calls_on_stderr(stone, run, project):
    (project / "flows.py").write_text(FLOWS)
    done = run("--plugin", "stone.py", "run", "flows:two", "--stack", "stone", DRYSTONE_TRACE="1")
    assert "drystone_run_finished(run=Run(two-1)) → None, " in done.stderr
    assert "→ [Stack(stone)], " in done.stderr
    assert "trace" not in done.stdout
