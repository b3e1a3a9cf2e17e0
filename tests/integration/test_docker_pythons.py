"""Images with another Python than the driver's: plain data passes, and the rest is refused when planned."""

from __future__ import annotations

import datetime
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drystone import Stack
from drystone.errors import PlanError
from drystone_docker import DockerOrchestrator
from drystone_docker.engines import close
from drystone_local import LocalArtifactStore, LocalOrchestrator

if TYPE_CHECKING:
    from docker import DockerClient

INSTALLED = Path("~/.pyenv/versions").expanduser()
"""Where Pythons of other versions may be."""

LEFT_OUT = ("test", "site-packages", "idlelib", "tkinter", "__pycache__")

WORKS = """
import datetime, sys
from dataclasses import dataclass
from drystone import pipeline, step

@dataclass
class Block:
    height: float
    marks: tuple[str, ...]

class Odd:
    pass

@step
def cut(n: int) -> tuple[dict, Block]:
    when = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
    return {"n": n, "when": when, "raw": b"\\x00\\xff", "set": {1, 2}}, Block(1.5, ("a", "b"))

@step(on="other")
def dress(data: dict, block: Block) -> dict:
    return {**data, "python": list(sys.version_info[:2]), "height": 2 * block.height, "marks": block.marks}

@step
def lay(data: dict) -> dict:
    return {**data, "back": list(sys.version_info[:2])}

@pipeline
def wall(n: int = 1):
    return lay(dress(*cut(n)))

@step
def odd() -> Odd:
    return Odd()

@step(on="other")
def take(value: Odd) -> int:
    return 1

@pipeline
def strange():
    return take(odd())
"""


@pytest.fixture(scope="session")
def other_python() -> Path:
    """The directory of a Python whose minor version is not the driver's."""
    minors = (minor for minor in (13, 12, 11) if minor != sys.version_info.minor)
    found = [path for minor in minors for path in INSTALLED.glob(f"3.{minor}.*")]
    if not found:
        pytest.skip(f"There is no Python of another minor version in {INSTALLED}.")
    return found[0]


@pytest.fixture(scope="session")
def other_base(docker_engine: DockerClient, base_image: str, other_python: Path) -> str:
    """An image that has it, at the same place."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for part in ("bin", "lib"):
            archive.add(other_python / part, f"python/{part}", filter=_needed)
        text = f"FROM {base_image}\nCOPY python {other_python}\n".encode()
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    packed.seek(0)
    name = f"drystone-tests:python-{other_python.name}"
    docker_engine.images.build(fileobj=packed, custom_context=True, rm=True, tag=name)
    return name


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if {*LEFT_OUT}.intersection(member.name.split("/")) else member


@pytest.fixture
def mixed(
    project: Path, other_base: str, other_python: Path, containers_left: Callable[..., list[str]]
) -> Iterator[Stack]:
    """A stack whose steps run here, but those on `other` in an image with another Python."""
    (project / "pyproject.toml").write_text('[project]\nname = "drystone-contract"\nversion = "1"\n')
    minor = other_python.name.rpartition(".")[0]
    boxes = DockerOrchestrator(base_image=other_base, python=f"{other_python}/bin/python{minor}")
    store = LocalArtifactStore()
    yield Stack("mixed", orchestrator=LocalOrchestrator(), artifact_store=store, step_orchestrators={"other": boxes})
    assert containers_left() == []
    close()


@pytest.fixture
def works(module: Callable[[str, str], Path]) -> Any:
    module("works", WORKS)
    sys.path.insert(0, str(Path.cwd()))
    import works

    return works


def test_plain_data_goes_to_another_python_and_comes_back(mixed: Stack, works: Any, other_python: Path) -> None:
    run = works.wall.with_options(stack=mixed)()
    there = [int(part) for part in other_python.name.split(".")[:2]]
    assert run.output.load() == {
        "n": 1,
        "when": datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC),
        "raw": b"\x00\xff",
        "set": {1, 2},
        "python": there,
        "height": 3.0,
        "marks": ("a", "b"),
        "back": [*sys.version_info[:2]],
    }
    assert works.wall.with_options(stack=mixed)().executed == 0


def test_what_cannot_pass_is_refused_when_planned(mixed: Stack, works: Any) -> None:
    works.wall.with_options(stack=mixed)()
    with pytest.raises(PlanError, match=r"'take' takes 'value' from step 'odd' as works\.Odd, which only pickle"):
        works.strange.with_options(stack=mixed).plan()
    with pytest.raises(PlanError, match="pickle does not pass between them"):
        works.strange.with_options(stack=mixed)()
