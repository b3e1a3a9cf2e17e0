"""The public surface, the cost of importing it, and what the repository's own files promise."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import drystone
from drystone import errors

ROOT = Path(__file__).resolve().parents[2]

PUBLIC = {
    # What authors of pipelines use.
    *("step", "pipeline", "Artifact", "Model", "Retry", "Resources", "Secret", "Stack", "Workspace"),
    *("log_metadata", "save_artifact", "load_artifact", "get_context"),
    # What they get back.
    *("Run", "StepRun", "ArtifactVersion", "ModelVersion", "Plan"),
    # What authors of plugins use.
    *("hookimpl", "StackComponent", "Orchestrator", "ArtifactStore", "ContainerRegistry", "Materializer"),
    *("Scheduler", "Timer"),
    *("FsspecArtifactStore", "Place", "RunContext", "StepNeeds", "BlobReader", "BlobWriter"),
    *("find_pipeline", "find_stacks", "project_root", "load_plugins", "preload"),
}
HEAVY = {"cattrs", "pluggy", "fsspec", "numpy", "pandas", "docker", "s3fs", "click", "rich"}


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded after some code ran in a fresh interpreter."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_public_names_are_all_there() -> None:
    assert set(drystone.__all__) >= PUBLIC
    assert all(hasattr(drystone, name) for name in drystone.__all__)
    assert dir(drystone) == sorted(drystone.__all__)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = drystone.Pipelin
    assert str(caught.value).startswith("module 'drystone' has no attribute 'Pipelin'. It has: Artifact, ")


def test_names_are_loaded_from_where_type_checkers_see_them() -> None:
    source = Path(drystone.__file__).with_suffix(".pyi").read_text()
    declared = {name: module for module, name in re.findall(r"from drystone\.(\w+) import (\w+) as \w+", source)}
    assert set(declared) == set(drystone.__all__)
    for name, module in declared.items():
        assert getattr(importlib.import_module(f"drystone.{module}"), name) is getattr(drystone, name)


def test_authoring_loads_nothing_heavy() -> None:
    loaded = loaded_by("from drystone import step, pipeline, Model, Artifact")
    assert "attr" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("module", ["drystone_local", "drystone_data", "drystone_cli", "drystone_example"])
def test_packages_of_plugins_import_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") & (HEAVY - {"pluggy"}) == set()


def test_every_error_is_in_the_tree_that_documents_them() -> None:
    tree = re.findall(r"(?:├──|└──) (\w+)", errors.__doc__ or "")
    classes = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    defined = {name for name, each in classes.items() if issubclass(each, Exception)} - {
        "DrystoneError",
        "StaleWarning",
    }
    assert set(tree) == defined
    assert all(issubclass(getattr(errors, name), errors.DrystoneError) for name in tree)


def tracked_files() -> Iterator[Path]:
    """The files of the repository: as Git knows them, or all but what it would ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return (ROOT / name for name in names if (ROOT / name).is_file())


REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "conda" + ".anaconda")


def test_no_file_names_the_host_of_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked_files()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    ]
    assert found == []


def test_files_of_the_source_stay_small() -> None:
    folders = ("core/src", "plugins/*/src", "contrib/*/src")
    sources = [path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")]
    assert len(sources) > 30
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def lines_of_code(source: str) -> int:
    """Lines that are neither blank, nor comment, nor part of a docstring."""
    tree = ast.parse(source)
    holders = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = [node.body[0] for node in holders if ast.get_docstring(node) is not None]
    unread = {line for each in docstrings for line in range(each.lineno, (each.end_lineno or 0) + 1)}
    written = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for at, line in written if at not in unread)


def test_core_is_no_larger_than_was_decided() -> None:
    sources = [path.read_text() for path in (ROOT / "core/src/drystone").glob("*.py")]
    page = (ROOT / "docs/decisions/0009-how-large-core-may-be.md").read_text()
    allowed = int(re.findall(r"Core may have ([\d,]+) lines of code", page)[0].replace(",", ""))
    assert 0.9 * allowed < sum(map(lines_of_code, sources)) <= allowed


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_has_two_commands_that_set_up_everything_themselves() -> None:
    commands = readme_blocks("sh")
    setup = "test -x .venv/bin/uv || (python3 -m venv .venv && .venv/bin/pip install --quiet uv) && .venv/bin/uv run "
    assert [command.count("\n") for command in commands] == [1, 1]
    assert all(command.startswith(setup) for command in commands)
    assert commands[0].rstrip().endswith("python docs/examples/flights/run.py")
    assert " pytest " in commands[1]
    assert (ROOT / "docs/examples/flights/run.py").is_file()


def test_ci_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    extracting = re.search(r"command=\$\((awk .*)\) #", script.read_text())
    assert extracting is not None
    printed = subprocess.run(["bash", "-c", extracting[1]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == readme_blocks("sh")[1]


def test_the_readmes_example_does_what_it_says(tmp_path: Path) -> None:
    walls, stacks = readme_blocks("python")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "walls.py").write_text(walls)

    def run(*arguments: str, expected: int = 0) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DRYSTONE_")}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, done.stderr
        return done.stdout

    transcript = readme_blocks("console")[0].splitlines()
    assert transcript[0] == "$ python walls.py"
    assert run("walls.py").splitlines()[-1] == transcript[1]
    plan = transcript[2].removeprefix("$ drystone ").split()
    assert plan[0] == "plan"
    main = "import sys; from drystone_cli.main import main; sys.exit(main())"
    shown = run("-c", main, *plan, expected=2)
    assert re.search(r"measure\W+cached", shown), shown
    assert re.search(r"fit\W+run", shown), shown
    assert "share" in shown

    (tmp_path / "stacks.py").write_text(stacks)
    assert run("-c", "import stacks; print(stacks.default.name)") == "team\n"


def test_links_in_the_documentation_lead_somewhere() -> None:
    folders = ("docs", "docs/*", "plugins/*", "contrib", "contrib/*")
    pages = [ROOT / "README.md", *(page for folder in folders for page in ROOT.glob(f"{folder}/*.md"))]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_architecture_and_the_layers_name_every_module_of_core_in_one_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    table = (ROOT / "docs/architecture.md").read_text().partition("## Modules of core")[2].partition("|---|")[2]
    named = re.findall(r"`(\w+)`", table)
    modules = [path.stem for path in (ROOT / "core/src/drystone").glob("*.py") if path.stem != "__init__"]
    modules += [path.parent.name for path in (ROOT / "core/src/drystone").glob("*/__init__.py")]
    assert sorted(named) == sorted(layers) == sorted(modules)
    position = {name: index for index, name in enumerate(reversed(layers))}
    for name in modules:
        files = [ROOT / f"core/src/drystone/{name}.py", *(ROOT / f"core/src/drystone/{name}").glob("*.py")]
        source = "".join(file.read_text() for file in files if file.exists())
        imported = set(re.findall(r"^from drystone\.(\w+)(?:\.\w+)? import", source, re.MULTILINE)) - {name}
        assert all(named.index(each) < named.index(name) and position[each] < position[name] for each in imported), name
