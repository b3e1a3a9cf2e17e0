"""What users do in their first hour, and what nobody told them not to: it works, or says what to do instead."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from drystone import Artifact, Model, Workspace, load_artifact, pipeline, save_artifact, step
from drystone.errors import PlanError

ADDING = """
from typing import Annotated

from drystone import pipeline, step


@step
def start() -> int:
    return 1


@step
def add(x: int, y: int = 1) -> Annotated[int, "sum"]:
    return x + y


@pipeline
def adding(y: int = 1):
    return add(start(), y)


if __name__ == "__main__":
    run = adding()
    print(run.name, run.status, run.executed, run.output.load())
"""

Command = Callable[..., Any]


@pytest.fixture
def script(project: Path) -> Path:
    """A script with a pipeline, which it runs."""
    file = project / "sums.py"
    file.write_text(ADDING)
    return file


def names_of_runs(project: Path) -> list[str]:
    workspace = Workspace(project / ".drystone")
    try:
        assert workspace.verify() == []
        return [run.name for run in workspace.runs(limit=None)]
    finally:
        workspace.close()


# --- calls in odd places ----------------------------------------------------------------------------------------------

CARELESS = ADDING.replace('if __name__ == "__main__":\n    run', "if True:\n    run")


def test_a_script_may_call_its_pipeline_at_the_top_level(script: Path, python: Command) -> None:
    script.write_text(CARELESS)
    assert python("sums.py").stdout == "adding-1 succeeded 2 2\n"
    assert python("sums.py").stdout == "adding-2 succeeded 0 2\n"


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_module_that_calls_its_pipeline_does_not_run_it_when_a_command_imports_it(
    project: Path, script: Path, command: Command, verb: str
) -> None:
    script.write_text(CARELESS)
    refused = command(verb, "sums:adding")
    assert refused.code == 2
    assert 'if __name__ == "__main__":' in refused.message
    assert names_of_runs(project) == []


# --- odd values -------------------------------------------------------------------------------------------------------


@step
def forget(x: int):  # type: ignore[no-untyped-def]
    x + 1


@step
def nothing_of(x: int) -> list[int]:
    return [0] * x


@step
def count(items: list[int]) -> int:
    return len(items)


@step
def height(table: pd.DataFrame) -> int:
    return len(table)


def test_a_step_without_annotation_may_return_none(workspace: Workspace) -> None:
    @step
    def is_none(value: Any) -> bool:
        return value is None

    @pipeline
    def forgetting() -> Any:
        return is_none(forget(1))

    assert forgetting().output.load() is True
    assert load_artifact("forgetting.forget") is None
    assert forgetting().executed == 0


def test_an_empty_list_is_a_value_as_any_other(workspace: Workspace) -> None:
    @pipeline
    def empty() -> Any:
        items = nothing_of(0)
        return items, count(items)

    run = empty()
    assert [version.load() for version in run.outputs.values()] == [[], 0]
    assert empty().executed == 0


def test_a_frame_is_no_parameter_and_the_error_says_what_to_do(workspace: Workspace) -> None:
    @pipeline
    def measuring(table: Any) -> Any:
        return height(table)

    with pytest.raises(PlanError) as caught:
        measuring(pd.DataFrame({"a": [1, 2]}))
    name = f"{pd.DataFrame.__module__}.DataFrame"  # pandas 3 says it shorter
    assert str(caught.value) == (
        f"Parameter 'table' of step 'height' cannot be passed as it is: A value of type {name} has no exact "
        "JSON form. Make it the output of a step, or save_artifact(value, name) and pass the version that returns."
    )
    assert workspace.runs() == []
    save_artifact(pd.DataFrame({"a": [1, 2]}), "table")
    assert measuring(Artifact("table").latest).output.load() == 2


def test_the_version_that_save_artifact_returns_may_be_passed(workspace: Workspace) -> None:
    @pipeline
    def measuring(table: Any) -> Any:
        return height(table)

    version = save_artifact(pd.DataFrame({"a": [1, 2]}), "table", tags={"team": "a"}, metadata={"made": "by hand"})
    run = measuring(version)
    assert run.output.load() == 2
    assert measuring(version).executed == 0
    assert str(run.steps["height"].inputs["table"]) == "table@1"


# --- odd names --------------------------------------------------------------------------------------------------------

UNICODE = """
from typing import Annotated

from drystone import Artifact, Model, pipeline, step


@step
def größe(zahl: int) -> Annotated[int, Artifact("größe", tags={"einheit": "µm"})]:
    print("日本語")
    return zahl


@pipeline(model=Model("модель"))
def übung(naïve: int = 1):
    return größe(naïve)
"""


def test_names_are_unicode(project: Path, command: Command) -> None:
    (project / "münze.py").write_text(UNICODE, encoding="utf-8")
    ran = command("run", "münze.py:übung", "--param", "naïve=3", "--json")
    assert (ran.code, ran.records[0]["name"]) == (0, "übung-1")
    assert "日本語" in command("runs", "show", "übung-1", "--logs").out
    assert command("artifacts", "show", "größe", "--json").records[0]["tags"] == {"einheit": "µm"}
    assert command("models", "promote", "модель", "1", "production").code == 0
    assert command("artifacts", "get", "größe").out == "größe-1/value.json\n"
    assert (project / "größe-1/value.json").read_text() == "3"
    assert names_of_runs(project) == ["übung-1"]


@pytest.mark.parametrize("name", ["", " ", "../../up", "/etc/x", "a/../../b", "a\nb", "a@1"])
def test_a_name_that_is_no_name_is_refused(workspace: Workspace, name: str) -> None:
    for use in (lambda: Artifact(name), lambda: Model(name), lambda: save_artifact(1, name)):
        with pytest.raises(ValueError, match="name"):
            use()
    assert workspace.artifacts() == []


def test_copying_an_artifact_does_not_leave_the_directory(project: Path, python: Command, command: Command) -> None:
    (project / "deep").mkdir()
    python("-c", "from drystone import save_artifact; save_artifact(1, '../up')")
    command("artifacts", "get", "../up", cwd=project / "deep")
    assert not (project / "up-1").exists()


def test_two_pipelines_of_one_name_share_its_numbers_and_nothing_else(project: Path, python: Command) -> None:
    (project / "twins.py").write_text(
        """
from drystone import Workspace, pipeline, step
from drystone.errors import RunFailedError

@step
def one() -> int:
    return 1

@step
def two() -> int:
    raise OSError("not yet")

@pipeline(name="work")
def first():
    return one()

@pipeline(name="work")
def second():
    return two()

if __name__ == "__main__":
    for work in first, second, first:
        try:
            run = work()
            print(run.name, run.output.load(), run.executed)
        except RunFailedError as exc:
            print(exc)
    print([(run.name, list(run.steps)) for run in Workspace.current().runs()])
"""
    )
    told = [line for line in python("twins.py").stdout.splitlines() if line.startswith(("work", "Run", "["))]
    assert told == [
        "work-1 1 1",
        "Run work-2 failed: step 'two' raised OSError: not yet",
        "work-3 1 0",
        "[('work-3', ['one']), ('work-2', ['two']), ('work-1', ['one'])]",
    ]


def test_a_run_of_one_of_two_pipelines_of_one_name_is_resumed_with_its_own(
    project: Path, python: Command, command: Command
) -> None:
    test_two_pipelines_of_one_name_share_its_numbers_and_nothing_else(project, python)
    file = project / "twins.py"
    file.write_text(file.read_text().replace('raise OSError("not yet")', "return 2"))
    resumed = command("resume", "work-2", "--json")
    assert (resumed.code, list(resumed.records[0]["steps"])) == (0, ["two"])


def test_a_step_function_renamed_between_runs_runs_once_more(
    project: Path, script: Path, python: Command, command: Command
) -> None:
    python("sums.py")
    script.write_text(ADDING.replace("add(", "plus("))
    planned = command("plan", "sums:adding", "--json")
    assert planned.code == 2
    assert [(each["name"], each["status"]) for each in planned.records] == [("start", "cached"), ("plus", "run")]
    assert planned.records[1]["causes"][0]["text"] == "never ran here"
    assert python("sums.py").stdout == "adding-2 succeeded 1 2\n"
    assert command("plan", "sums:adding").code == 0
    assert command("artifacts", "show", "sum@1", "--json").records[0]["produced_by"] == ["adding-1", "add"]


# --- odd places -------------------------------------------------------------------------------------------------------


def test_a_path_with_spaces_and_other_letters(project: Path, script: Path, python: Command, command: Command) -> None:
    place = project / "my project é"
    place.mkdir()
    script.rename(place / "sums.py")
    (place / "pyproject.toml").write_text("")
    ran = subprocess.run([sys.executable, "sums.py"], cwd=place, capture_output=True, text=True, check=True)
    assert ran.stdout == "adding-1 succeeded 2 2\n"
    for target in ("sums:adding", "sums.py:adding", f"{place}/sums.py:adding"):
        assert "2 cached" in command("run", target, cwd=place).out
    assert command("workspace", "verify", cwd=place).code == 0


def test_a_subdirectory_of_the_project_is_as_good_as_its_root(
    project: Path, script: Path, python: Command, command: Command
) -> None:
    assert python("sums.py").stdout == "adding-1 succeeded 2 2\n"
    below = project / "notebooks" / "old"
    below.mkdir(parents=True)
    for target in ("sums:adding", "sums.py:adding", "../../sums.py:adding"):
        assert "2 cached" in command("run", target, cwd=below).out
    ran = subprocess.run([sys.executable, "../../sums.py"], cwd=below, capture_output=True, text=True, check=True)
    assert ran.stdout == "adding-5 succeeded 0 2\n"
    assert [found.parent for found in project.rglob(".drystone")] == [project]
    assert len(names_of_runs(project)) == 5


@pytest.fixture
def package(project: Path) -> Path:
    """A package with a pipeline in a module of it."""
    folder = project / "sums"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "adding.py").write_text(ADDING)
    return folder


def test_a_module_of_a_package_is_run_as_one(package: Path, project: Path, python: Command, command: Command) -> None:
    assert python("-m", "sums.adding").stdout == "adding-1 succeeded 2 2\n"
    assert python("-m", "sums.adding").stdout == "adding-2 succeeded 0 2\n"
    assert command("run", "sums.adding:adding").code == 0
    assert "2 cached" in command("run", "sums/adding.py:adding").out
    (package / "__main__.py").write_text("from sums.adding import adding\nprint(adding().executed)\n")
    assert python("-m", "sums").stdout == "0\n"


def test_a_module_run_with_m_shares_its_results_with_an_import_of_it(
    package: Path, python: Command, command: Command
) -> None:
    assert python("-m", "sums.adding").stdout == "adding-1 succeeded 2 2\n"
    assert "2 cached" in command("run", "sums.adding:adding").out


def test_a_failed_run_of_a_module_run_with_m_is_resumed(package: Path, python: Command, command: Command) -> None:
    module = package / "adding.py"
    module.write_text(ADDING.replace("return x + y", "return x // 0"))
    assert python("-m", "sums.adding").returncode == 1
    module.write_text(ADDING)
    assert command("resume", "adding-1").code == 0


# --- sessions ---------------------------------------------------------------------------------------------------------

CELLS = [
    "from drystone import pipeline, step",
    "@step\ndef one(x: int) -> int:\n    return x",
    "@pipeline\ndef work(x: int = 1):\n    return one(x)",
    "run = work(); print(run.name, run.executed, run.output.load())",
    "run = work(); print(run.name, run.executed, run.output.load())",
    "@step\ndef one(x: int) -> int:\n    return x + 1",
    "run = work(); print(run.name, run.executed, run.output.load())",
    "print(work.plan().would_run, work.plan(x=2).would_run)",
]
TOLD = ["work-1 1 1", "work-2 0 1", "work-3 1 2", "False True"]


def test_an_interactive_session_defines_runs_and_redefines(project: Path) -> None:
    text = "\n\n".join(CELLS) + "\n\n"
    told = subprocess.run(
        [sys.executable, "-i", "-q"], input=text, cwd=project, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.splitlines() == TOLD, told.stderr
    assert names_of_runs(project) == ["work-3", "work-2", "work-1"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_notebook_defines_runs_and_redefines(project: Path, python: Command, kept: bool) -> None:
    """Cells are executed in one namespace; their sources are in linecache, as notebooks keep them, or nowhere."""
    (project / "cells.py").write_text(
        f"""
import linecache, sys
names = {{"__name__": "__main__"}}
del sys.modules["__main__"].__file__
for number, cell in enumerate({CELLS!r}):
    file = f"<cell {{number}}>"
    if {kept}:
        linecache.cache[file] = (len(cell), None, cell.splitlines(True), file)
    exec(compile(cell, file, "exec"), names)
"""
    )
    told = python("cells.py")
    assert told.stdout.splitlines() == TOLD, told.stderr


def test_a_failed_run_of_a_session_says_how_to_go_on(project: Path, python: Command, command: Command) -> None:
    failing = "\n".join(CELLS[:3]).replace("return x", "return x // 0") + "\nwork()\n"
    assert python("-c", failing).returncode == 1
    refused = command("resume", "work-1")
    assert (refused.code, refused.message) == (
        1,
        "Error: Run work-1 cannot be resumed: its pipeline is defined inside a function or a session, so it cannot be "
        "imported. Call the pipeline again; what it finished comes from the cache.",
    )


# --- directories that cannot be written to ----------------------------------------------------------------------------


@pytest.fixture
def unprivileged() -> list[str]:
    """What stands before a command so that permissions count, which root does not ask for."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and there is no setpriv")
    without = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", without, "--inh-caps", without]


def limited(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(sys.executable).with_name("drystone"))
    arguments = [script if each == "drystone" else each for each in arguments]
    return subprocess.run(
        arguments, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_project_that_cannot_be_written_to(
    project: Path, script: Path, unprivileged: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "workspace"
    with read_only(project):
        refused = limited([*unprivileged, "drystone", "run", "sums:adding"], project)
        worked = limited([*unprivileged, "drystone", "run", "sums:adding"], project, DRYSTONE_WORKSPACE=str(elsewhere))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: The workspace {project}/.drystone cannot be made: [Errno 13] Permission denied: "
        f"'{project}/.drystone'. Choose another directory (DRYSTONE_WORKSPACE).\n"
    )
    assert worked.returncode == 0


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Takes the permission to write from a directory and all below it, and gives it back."""
    paths = [directory, *directory.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def test_a_workspace_that_cannot_be_written_to(
    project: Path, script: Path, python: Command, unprivileged: list[str], command: Command
) -> None:
    python("sums.py")
    directory = project / ".drystone"
    with read_only(directory):
        for arguments in (["drystone", "run", "sums:adding"], [sys.executable, "sums.py"]):
            refused = limited([*unprivileged, *arguments], project)
            assert refused.returncode == 1
            text = refused.stderr.splitlines()[-1].partition(": ")[2]
            assert text.startswith(f"The lock of a run, {directory}/locks/")
            assert text.endswith("Look at the disk's space and the directory's permissions.")
        for arguments in (["runs", "list"], ["runs", "show", "adding-1"], ["workspace", "verify"]):
            assert limited([*unprivileged, "drystone", *arguments], project).returncode == 0
        loaded = "from drystone import Workspace; print(Workspace.current().run('adding-1').output.load())"
        assert limited([*unprivileged, sys.executable, "-c", loaded], project).stdout == "2\n"
        tag = "from drystone import Workspace; w = Workspace.current(); w.tag(w.run('adding-1'), 'good')"
        tagged = limited([*unprivileged, sys.executable, "-c", tag], project)
        assert f"WorkspaceError: The workspace {directory} cannot be written to: " in tagged.stderr
    assert names_of_runs(project) == ["adding-1"]
    assert "2 cached" in command("run", "sums:adding").out


def test_an_artifact_store_that_cannot_be_written_to(
    project: Path, script: Path, python: Command, unprivileged: list[str], command: Command
) -> None:
    python("sums.py")
    with read_only(project / ".drystone/artifacts"):
        refused = limited([*unprivileged, "drystone", "run", "sums:adding", "--param", "y=5"], project)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(
        "Error: Run adding-2 failed: step 'add' raised ArtifactStoreError: The artifact store "
        f"{project}/.drystone/artifacts cannot be written to: [Errno 13] Permission denied: "
    )
    assert names_of_runs(project) == ["adding-2", "adding-1"]
    assert command("resume", "adding-2").code == 0


def test_a_damaged_database_is_named(project: Path, script: Path, python: Command, command: Command) -> None:
    python("sums.py")
    database = project / ".drystone/workspace.db"
    whole = database.read_bytes()
    database.write_bytes(b"not a database" + whole[14:])
    refused = command("runs", "list")
    assert (refused.code, refused.message) == (
        1,
        f"Error: The workspace {project}/.drystone cannot be opened: file is not a database. Check that the directory "
        "can be written to; if workspace.db is damaged, restore it from a backup.",
    )
    database.write_bytes(whole)
    assert names_of_runs(project) == ["adding-1"]


# --- a full disk ------------------------------------------------------------------------------------------------------

FILLING = """
import os, resource, sys
from pathlib import Path
from drystone import Workspace, pipeline, save_artifact, step

@step
def big(n: int) -> bytes:
    return os.urandom(n)

@step
def size(data: bytes) -> int:
    return len(data)

@pipeline
def measuring(n: int = 10):
    return size(big(n))

@step(cache=False)
def little(n: int) -> str:
    return "x" * 3000 + str(n)

@pipeline
def filling(n: int = 400):
    for index in range(n):
        little(index)

def limit(size):
    if sys.argv[1] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    elif size == resource.RLIM_INFINITY:
        os.unlink("ballast")

def attempt(name, call):
    try:
        print("##", name, call())
    except Exception as exc:
        print("##", name, f"{type(exc).__module__}.{type(exc).__name__}: {exc}")

def runs():
    return [(run.name, run.status) for run in Workspace.current().runs()]

if __name__ == "__main__":
    if sys.argv[1] != "limit":
        Path("ballast").write_bytes(bytes(1 << 20))
    measuring()
    limit(200_000)
    attempt("big", lambda: measuring(n=3_000_000))
    attempt("save", lambda: save_artifact(os.urandom(3_000_000), "saved"))
    attempt("fill", filling)
    attempt("read", runs)
    limit(resource.RLIM_INFINITY)
    attempt("verify", lambda: Workspace.current().verify())
    attempt("runs", runs)
    attempt("again", lambda: filling(n=3).status)
    attempt("load", lambda: len(Workspace.current().artifact("measuring.big").load()))
"""


@pytest.fixture(params=["limit", "full"])
def filled(request: pytest.FixtureRequest, project: Path) -> dict[str, str]:
    """What a script says whose files may not grow, or whose disk has three megabytes."""
    (project / "filling.py").write_text(FILLING)
    arguments = [sys.executable, "filling.py", request.param]
    if request.param == "full":
        mounted = 'mount -t tmpfs -o size=3m tmpfs "$0" && cp filling.py pyproject.toml "$0" && cd "$0" && exec "$@"'
        (project / "small").mkdir()
        arguments = ["unshare", "--mount", *_mapped(), "sh", "-c", mounted, str(project / "small"), *arguments]
        if subprocess.run([*arguments[:-3], "true"], cwd=project, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
    done = subprocess.run(arguments, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("## ")]
    return dict(said)


def _mapped() -> list[str]:
    return [] if os.geteuid() == 0 else ["--map-root-user"]


def test_a_full_disk_loses_nothing(filled: dict[str, str]) -> None:
    assert filled["big"].startswith(
        "drystone.errors.RunFailedError: Run measuring-2 failed: step 'big' raised ArtifactStoreError: The artifact "
        "store "
    )
    assert filled["save"].startswith("drystone.errors.ArtifactStoreError: The artifact store ")
    for name in ("big", "save"):
        assert filled[name].endswith(
            ("cannot be written to: [Errno 27] File too large.", "[Errno 28] No space left on device.")
        )
    assert filled["verify"] == "[]"
    assert filled["runs"] == "[('filling-1', 'crashed'), ('measuring-2', 'failed'), ('measuring-1', 'succeeded')]"
    assert (filled["again"], filled["load"]) == ("succeeded", "10")


def test_a_ledger_that_cannot_grow_says_so(filled: dict[str, str]) -> None:
    kind, _, text = filled["fill"].partition(": ")
    assert kind == "drystone.errors.WorkspaceError"
    assert "cannot be written to" in text


def test_a_full_disk_does_not_keep_from_reading(filled: dict[str, str]) -> None:
    assert "('measuring-1', 'succeeded')" in filled["read"]
