"""What a step in a container costs beyond its container, and how soon the first one starts after an edit.

Run by hand: `python tests/benchmarks/containers.py`; with `--smoke`, a short chain that only shows that it works.

What one more step of a chain takes is compared with `docker run` of the same image, in which the same interpreter
imports the modules that the step had. When containers started is what the engine says.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))

from services.engines import engine, image, removed

STACKS = """
from drystone import Stack
from drystone_docker import DockerOrchestrator
from drystone_local import LocalArtifactStore

default = Stack(
    "containers", orchestrator=DockerOrchestrator(base_image={base!r}), artifact_store=LocalArtifactStore()
)
"""

STEPS = """
import sys

from drystone import pipeline, step


@step(cache=False)
def grow(before: list[str]) -> list[str]:
    return [sys.executable, *sorted(sys.modules)][: {edit}]


@pipeline
def chain():
    found = []
    for _ in range({length}):
        found = grow(found)
    return found
"""

IMPORTS = """
import contextlib, importlib, sys

for name in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


@attrs.frozen
class Project:
    """A project with one pipeline, a chain of trivial steps, that runs in containers."""

    folder: Path
    client: Any

    def write(self, length: int) -> None:
        """A chain of so many steps, whose source nobody has seen before."""
        (self.folder / "steps.py").write_text(STEPS.format(length=length, edit=time.time_ns()))

    def run(self) -> float:
        """Seconds of a run."""
        began = time.perf_counter()
        self._python("-m", "drystone_cli", "run", "steps.py:chain")
        return time.perf_counter() - began

    def modules(self) -> list[str]:
        """The interpreter of a step, and the modules that it has imported."""
        said = self._python("-c", "import json, steps; print(json.dumps(steps.chain().output.load()))")
        return list(json.loads(said))

    def first_container(self) -> tuple[float, str]:
        """Seconds from the command of a run until the engine started its first container, and the image of that."""
        began = time.time()
        self.run()
        named = {"type": "container", "event": "start"}
        events = self.client.api.events(since=int(began), until=int(time.time()) + 1, filters=named, decode=True)
        mine = [
            each for each in events if any(str(self.folder) in text for text in each["Actor"]["Attributes"].values())
        ]
        first = min(mine, key=lambda each: each["timeNano"])
        return first["timeNano"] / 1e9 - began, first["Actor"]["Attributes"]["image"]

    def _python(self, *arguments: str) -> str:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("DRYSTONE_")}
        command = [sys.executable, *arguments]
        made = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            sys.exit(made.stdout + made.stderr)
        return made.stdout


@contextlib.contextmanager
def project() -> Iterator[Project]:
    """A project in a folder of its own; afterwards no container is left of it."""
    with contextlib.closing(engine()) as client, tempfile.TemporaryDirectory() as directory:
        folder = Path(directory).resolve()
        (folder / "pyproject.toml").write_text("")
        (folder / "stacks.py").write_text(STACKS.format(base=image(client)))
        with removed(client, folder):
            yield Project(folder, client)


def plain(image: str, modules: list[str]) -> float:
    """Seconds of `docker run` with the imports of a step."""
    interpreter, *names = modules
    began = time.perf_counter()
    subprocess.run(["docker", "run", "--rm", image, interpreter, "-c", IMPORTS, *names], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print both figures."""
    smoke = "--smoke" in sys.argv
    length, rounds = (2, 1) if smoke else (9, 7)
    with project() as made:
        made.write(1)
        modules = made.modules()  # which builds the image
        starts, pairs = [], []
        for _ in range(rounds):
            made.write(1)
            started, name = made.first_container()
            starts.append(started)
            one = made.run()
            made.write(length)
            pairs.append(((made.run() - one) / (length - 1), plain(name, modules)))
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    beyond = statistics.median(a - b for a, b in pairs)
    print(f"one more step          {ours:8.3f} s   docker run {theirs:.3f} s   beyond it {beyond:.3f} s (bar 0.5)")
    print(f"first container        {statistics.median(starts):8.3f} s after the command that follows an edit (bar 3)")


if __name__ == "__main__":
    main()
