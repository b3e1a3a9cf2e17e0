"""The tag of an image: it changes with everything that goes in, and with nothing else. No engine is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from drystone import Secret
from drystone_docker.dockerfiles import digest_of
from drystone_docker.images import Image
from drystone_docker.provisions import repository_of
from drystone_docker.recipes import Recipe, recipe_of

BASE = "sha256:" + "0" * 64


def recipe(root: Path, base: str = BASE, **settings: Any) -> Recipe:
    return recipe_of(Image(**settings), base, root)


def test_the_same_settings_give_the_same_tag_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from drystone_docker.images import Image\n"
        "from drystone_docker.recipes import recipe_of\n"
        f"print(recipe_of(Image(requirements=('numpy',)), {BASE!r}, Path(sys.argv[1])).digest)"
    )
    there = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == recipe(tmp_path, requirements=("numpy",)).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"base": "sha256:" + "1" * 64},
        {"python": "python3.12"},
        {"platform": "linux/arm64"},
        {"requirements": ("numpy", "scipy")},
        {"requirements": ("numpy>=2",)},
        {"system_packages": ("git",)},
        {"environment": {"THREADS": "1"}},
    ],
)
def test_a_tag_changes_with_what_goes_in(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert (
        recipe(tmp_path, **{"requirements": ("numpy",), **changed}).digest
        != recipe(tmp_path, requirements=("numpy",)).digest
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"base_image": "another/name:of-it"},
        {"index_url": "https://packages.example.org/simple"},
        {"index_url": Secret("env:INDEX_URL")},
        {"environment": {"TOKEN": Secret("env:TOKEN")}},
        {"python": "python3"},
        {"system_packages": ()},
    ],
)
def test_a_tag_does_not_change_with_anything_else(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert recipe(tmp_path, **changed).digest == recipe(tmp_path).digest


def test_the_projects_code_and_its_indexes_are_in_no_tag(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    before = recipe(tmp_path).digest
    (tmp_path / "pipelines.py").write_text("print(1)")
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://me:pass@example.org/simple\nnumpy # fast\n")
    assert recipe(tmp_path).digest == before
    (tmp_path / "requirements.txt").write_text("numpy\nscipy\n")
    assert recipe(tmp_path).digest != before


def test_system_packages_and_variables_have_no_order(tmp_path: Path) -> None:
    one = recipe(tmp_path, system_packages=("a1", "b1"), environment={"A": "1", "B": "2"})
    assert one.digest == recipe(tmp_path, system_packages=("b1", "a1"), environment={"B": "2", "A": "1"}).digest


def test_what_the_driver_has_of_what_is_asked_for_is_pinned(tmp_path: Path) -> None:
    found = recipe(tmp_path, requirements=("pandas>=2",))
    assert f"pandas=={version('pandas')}" in found.constraints
    assert f"numpy=={version('numpy')}" in found.constraints  # which pandas leads to
    assert f"attrs=={version('attrs')}" in found.constraints  # which Drystone leads to
    assert not any(each.startswith(("scipy", "pytest", "drystone")) for each in found.constraints)


def test_another_version_that_is_asked_for_is_not_the_drivers(tmp_path: Path) -> None:
    found = recipe(tmp_path, requirements=("pandas>=2", "numpy==1.0.0"))
    assert not any(each.startswith("numpy==") for each in found.constraints)
    (tmp_path / "requirements.txt").write_text("pandas\n-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("numpy<1\n")
    constraints = recipe(tmp_path).constraints
    assert "numpy<1" in constraints
    assert not any(each.startswith("numpy==") for each in constraints)


def test_drystone_and_its_official_plugins_are_in_every_image(tmp_path: Path) -> None:
    found = {each.name: each for each in recipe(tmp_path).locals}
    assert {"drystone-core", "drystone-local", "drystone-docker", "drystone-s3", "drystone-data"} <= found.keys()
    names = zipfile.ZipFile(BytesIO(dict(found["drystone-core"].files())[found["drystone-core"].path])).namelist()
    assert {"drystone/errors.py", "drystone/py.typed", "drystone/__init__.pyi"} <= {*names}
    assert not any("__pycache__" in name or name.endswith(".pth") or "direct_url" in name for name in names)


Installer = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Puts a distribution among those that the driver has; `said` is what its installer noted of its origin."""
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))

    def install(name: str, *requires: str, said: dict[str, Any] | None = None) -> Path:
        info = site / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        lines = [f"Requires-Dist: {each}\n" for each in requires]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{''.join(lines)}")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n")
        (info / "entry_points.txt").write_text(f"[console_scripts]\n{name} = {name}:main\n")
        (site / f"{name}.py").write_text("NUMBER = 42\n")
        files = [f"{name}.py", *(f"{info.name}/{each}" for each in ("METADATA", "WHEEL", "RECORD", "entry_points.txt"))]
        (info / "RECORD").write_text("".join(f"{each},,\n" for each in [*files, f"../../bin/{name}"]))
        if said is not None:
            (info / "direct_url.json").write_text(json.dumps(said))
        return site

    return install


def test_an_editable_package_is_in_none_but_what_it_requires_is(tmp_path: Path, install: Installer) -> None:
    edited = {"url": "file:///team/lib", "dir_info": {"editable": True}}
    install("teamlib", "numpy>=2", "teamcore", 'scipy; extra == "fast"', said=edited)
    install("teamcore", "teamlib", "polars", said=edited)
    found = recipe(tmp_path, requirements=("teamlib[fast]",))
    assert {"numpy>=2", "polars", "scipy"} <= {*found.lines}
    assert not any("team" in line for line in found.lines)
    assert f"numpy=={version('numpy')}" in found.constraints
    assert "scipy" not in recipe(tmp_path, requirements=("teamlib",)).lines


def test_a_package_that_came_from_no_index_is_copied_as_it_is_installed(tmp_path: Path, install: Installer) -> None:
    site = install("vendored", "numpy", said={"url": "https://example.org/vendored.git", "vcs_info": {"vcs": "git"}})
    found = recipe(tmp_path, requirements=("vendored",))
    (local,) = (each for each in found.locals if each.name == "vendored")
    assert local.path.endswith("/vendored-1.5-py2.py3-none-any.whl")
    assert f"vendored @ file:///drystone-build/{local.path}" in found.lines
    assert "vendored" not in found.lines
    wheel = zipfile.ZipFile(BytesIO(dict(local.files())[local.path]))
    assert wheel.read("vendored.py") == b"NUMBER = 42\n"
    assert not any(name.endswith("direct_url.json") or "scripts" in name for name in wheel.namelist())
    (site / "vendored.py").write_text("NUMBER = 43\n")
    assert recipe(tmp_path, requirements=("vendored",)).digest != found.digest


def test_a_package_from_an_index_is_asked_of_the_index(tmp_path: Path, install: Installer) -> None:
    install("published", "numpy")
    found = recipe(tmp_path, requirements=("published>1", "vendored"))
    assert "published>1" in found.lines
    assert "published==1.5" in found.constraints


def test_a_tag_is_known_at_once(tmp_path: Path) -> None:
    recipe(tmp_path, requirements=("pandas", "scikit-learn"))
    start = time.process_time()
    recipe(tmp_path, requirements=("pandas", "scikit-learn"))
    assert time.process_time() - start < 0.3


def test_a_dockerfile_is_known_by_its_folder_without_what_it_ignores(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    before = digest_of(file)
    (tmp_path / "data.txt").write_text("1")
    with_data = digest_of(file)
    assert with_data != before
    (tmp_path / ".dockerignore").write_text("*.txt\n")
    ignoring = digest_of(file)
    (tmp_path / "data.txt").write_text("2")
    assert digest_of(file) == ignoring
    file.write_text("FROM scratch\nENV A=1\n")
    assert digest_of(file) != ignoring


def test_images_are_called_after_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "Flight_Delays"\n')
    assert repository_of(tmp_path) == "drystone/flight-delays"
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{"flights" * 50}"\n')
    assert len(repository_of(tmp_path)) < 128


@pytest.mark.parametrize(
    ("folder", "name"), [("My Flights", "my-flights"), ("航班", "project"), ("_x_", "x"), ("a..b--c", "a-b-c")]
)
def test_any_folder_gives_a_name_that_registries_take(tmp_path: Path, folder: str, name: str) -> None:
    assert repository_of(tmp_path / folder) == f"drystone/{name}"
