"""What stands in contrib/ keeps the rules of contrib/README.md, as far as a machine can see."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drystone import StackComponent, load_plugins

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("contrib/*/pyproject.toml"))
every = pytest.mark.parametrize("home", PLUGINS, ids=lambda home: home.name)

CONTRACTS = {
    "orchestrator": "OrchestratorContract",
    "artifact_store": "ArtifactStoreContract",
    "container_registry": "ContainerRegistryContract",
    "scheduler": "SchedulerContract",
}


def settings(home: Path) -> dict[str, Any]:
    """What a pyproject.toml says."""
    return tomllib.loads((home / "pyproject.toml").read_text())


def offered(home: Path, hook: str = "drystone_components") -> list[type[StackComponent]]:
    """What a plugin offers."""
    return [offer for offer, plugin in load_plugins().offered(hook) if plugin.distribution == home.name]


def test_there_are_some() -> None:
    assert PLUGINS


@every
def test_every_component_inherits_the_contract_of_its_kind(home: Path) -> None:
    tests = "\n".join(path.read_text() for path in home.glob("tests/test_*.py"))
    missing = [
        component.__name__
        for component in offered(home)
        if component.kind in CONTRACTS and f"class Test{component.__name__}({CONTRACTS[component.kind]})" not in tests
    ]
    materializers = [each.__name__ for each in offered(home, "drystone_materializers")]
    missing += [name for name in materializers if f"class Test{name}(MaterializerContract)" not in tests]
    assert missing == []


@every
def test_it_has_an_owner_who_stands_in_the_list(home: Path) -> None:
    [owner] = re.findall(r"^Owner: (.+)\.$", (home / "README.md").read_text(), re.MULTILINE)
    [row] = re.findall(
        rf"^\| \[{home.name}\]\({home.name}\) \| .+ \| (.+) \|$", (home.parent / "README.md").read_text(), re.M
    )
    assert owner.lower() == row.lower()


@every
def test_it_is_called_like_its_folder_and_bounds_core(home: Path) -> None:
    project = settings(home)["project"]
    assert project["name"] == home.name
    [core] = [each for each in project["dependencies"] if each.startswith("drystone-core")]
    assert re.fullmatch(r"drystone-core>=[\d.]+,<[\d.]+", core)
    assert project["entry-points"]["drystone"]


@every
def test_it_is_typed_and_part_of_every_check(home: Path) -> None:
    [package] = [path.parent.name for path in home.glob("src/*/__init__.py")]
    assert (home / "src" / package / "py.typed").is_file()
    ours = settings(ROOT)["tool"]
    independence = [each["modules"] for each in ours["importlinter"]["contracts"] if each["type"] == "independence"]
    for checked in (ours["mypy"]["packages"], *independence, ours["coverage"]["run"]["source_pkgs"]):
        assert package in checked
    assert f"contrib/{home.name}/tests" in ours["pytest"]["testpaths"]


@every
def test_its_readme_has_one_stack_and_names_every_setting(home: Path) -> None:
    text = (home / "README.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    fields = {
        (cls.__name__, name) for cls in offered(home) for name in list(inspect.signature(cls.__init__).parameters)[1:]
    }
    assert text.count("# stacks.py\n") == 1
    assert rows == fields


@every
def test_it_is_not_installed_with_drystone(home: Path) -> None:
    assert not any(home.name in each for each in settings(ROOT)["project"]["dependencies"])


@every
def test_it_can_be_imported_by_its_name(home: Path) -> None:
    assert importlib.import_module(home.name.replace("-", "_")).__doc__
