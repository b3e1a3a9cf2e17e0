"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from drystone import Workspace
from services.elsewhere import Elsewhere
from services.engines import base_image as base_image
from services.engines import containers_left as containers_left
from services.engines import docker_engine as docker_engine
from services.registries import locked_registry as locked_registry
from services.registries import oci_registry as oci_registry
from services.registries import own_registry as own_registry
from services.seaweed import own_s3_server as own_s3_server
from services.seaweed import s3_bucket as s3_bucket
from services.seaweed import s3_server as s3_server

ROOT = Path(__file__).parents[1]

# A machine that many share says nothing about a strategy by being slow, nor about a test.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the test's own cache of blobs, made when it is used."""
    directory = tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4().hex}"
    monkeypatch.setenv("DRYSTONE_CACHE", str(directory))
    monkeypatch.delenv("DRYSTONE_CACHE_SIZE", raising=False)
    return directory


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """A store that is taken for a remote one, and counts what is transferred."""
    return Elsewhere(shelf=str(tmp_path))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a workspace of its own; the working directory stands in it."""
    (tmp_path / "pyproject.toml").write_text("")
    for name in (
        "DRYSTONE_WORKSPACE",
        "DRYSTONE_STACK",
        "DRYSTONE_PLUGINS_DISABLE",
        "DRYSTONE_PLUGINS",
        "DRYSTONE_TRACE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DRYSTONE_AUTHOR", "tester@example.org")
    # Python takes bytecode for current if the source has the size and the second it had; tests edit faster than that.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workspace(project: Path) -> Iterator[Workspace]:
    """The workspace of the empty project."""
    current = Workspace.current()
    yield current
    current.close()


@pytest.fixture
def module(project: Path) -> Iterator[Callable[[str, str], Path]]:
    """Writes a module of the project, given its name and text, that is loaded afresh for each test."""
    before, workspace, written = list(sys.path), Workspace.current(), []

    def write(name: str, text: str) -> Path:
        written.append(name)
        file = project / f"{name}.py"
        file.write_text(text)
        return file

    yield write
    sys.path[:] = before
    for name in written:
        sys.modules.pop(name, None)
    workspace.close()


@pytest.fixture
def python(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script of the project in a fresh interpreter; returns what became of it."""

    def run(*arguments: str, cwd: Path = project, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with Drystone and pytest, and nothing else of this one; the directory of its commands."""
    made, uv = tmp_path_factory.mktemp("environment") / "venv", Path(sys.executable).with_name("uv")
    packages = [f"--editable={ROOT}/{each}" for each in ("core", "plugins/local", "plugins/data", "plugins/cli")]
    for command in (["venv", "--python", sys.executable, made], ["pip", "install", *packages, "pytest>=9"]):
        subprocess.run(
            [uv, "--quiet", *command],
            env={**os.environ, "VIRTUAL_ENV": str(made)},
            stdin=subprocess.DEVNULL,
            check=True,
        )
    return made / "bin"
