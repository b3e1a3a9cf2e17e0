"""A package of somebody else: an orchestrator and an artifact store, installed through an entry point, used by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "acme-stones"
version = "1.0"
dependencies = ["drystone-core"]

[project.entry-points.drystone]
acme = "acme_stones"
"""

ORCHESTRATOR = '''
import concurrent.futures

import attrs

from drystone import Orchestrator, RunContext, hookimpl


@attrs.frozen(kw_only=True)
class ThreadedOrchestrator(Orchestrator):
    """Runs every step in a thread pool."""

    workers: int = 4

    def executor(self, run: RunContext) -> concurrent.futures.Executor:
        """A pool of threads."""
        return concurrent.futures.ThreadPoolExecutor(self.workers)
'''

STORE = '''
@attrs.frozen(kw_only=True)
class ShelfArtifactStore(FsspecArtifactStore):
    """Keeps artifacts on a shelf."""

    url: str = "file:///tmp/shelf"


@hookimpl
def drystone_components():
    """Both components."""
    return [ThreadedOrchestrator, ShelfArtifactStore]
'''

PIPELINE = """
import threading
from drystone import Stack, Workspace, load_plugins, pipeline, step

meeting = threading.Barrier(2, timeout=60)

@step(ignore=["parallel.meeting"])
def left() -> int:
    print("to the left")
    meeting.wait()
    return threading.get_ident()

@step(ignore=["parallel.meeting"])
def right() -> int:
    print("to the right")
    meeting.wait()
    return threading.get_ident()

@pipeline
def both():
    return left(), right()

if __name__ == "__main__":
    plugins = load_plugins()
    orchestrator = plugins.component("orchestrator", "threaded")(workers=2)
    store = plugins.component("artifact_store", "shelf")(url="file://SHELF")
    run = both.with_options(stack=Stack("acme", orchestrator=orchestrator, artifact_store=store))()
    assert len({version.load() for version in run.outputs.values()}) == 2
    print(run.status, run.stack, repr(run.steps["left"].logs()), repr(run.steps["right"].logs()))
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of an interpreter that has the package installed."""
    package = tmp_path / "acme"
    (package / "acme_stones").mkdir(parents=True)
    (package / "pyproject.toml").write_text(PYPROJECT)
    source = ORCHESTRATOR.replace("import Orchestrator", "import FsspecArtifactStore, Orchestrator") + STORE
    (package / "acme_stones" / "__init__.py").write_text(source)
    target = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        str(package),
    ]
    subprocess.run(command, check=True, timeout=300)
    return {**os.environ, "PYTHONPATH": str(target)}


def test_a_30_line_orchestrator_and_a_15_line_store_work_in_a_stack_by_name(
    project: Path, installed: dict[str, str], tmp_path: Path
) -> None:
    assert len(ORCHESTRATOR.strip().splitlines()) <= 30
    assert len(STORE.strip().splitlines()) <= 15
    (project / "parallel.py").write_text(PIPELINE.replace("SHELF", str(tmp_path / "shelf")))
    done = subprocess.run(
        [sys.executable, "parallel.py"],
        cwd=project,
        env=installed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "succeeded acme 'to the left\\n' 'to the right\\n'"
    assert list((tmp_path / "shelf" / "blobs").rglob("*"))
