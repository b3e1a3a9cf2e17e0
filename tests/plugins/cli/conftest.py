"""A project with pipelines, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone_cli.main import main

PIPELINES = '''
from typing import Annotated

from drystone import Artifact, Model, log_metadata, pipeline, step

m = Model("scores", description="of the tests")


def factor():
    return 10


@step
def load(rows: int) -> Annotated[list[int], Artifact("numbers", tags={"team": "ops"})]:
    print("loading", rows)
    return list(range(rows))


@step
def fit(data: list[int], rate: float = 0.5) -> Annotated[float, "score"]:
    log_metadata({"rate": rate})
    return sum(data) * rate * factor()


@step
def explode(data: list[int]) -> int:
    raise RuntimeError("the data is cursed")


@pipeline(model=m)
def training(rows: int = 3, rate: float = 0.5):
    """Train."""
    return fit(load(rows), rate)


@pipeline
def failing(rows: int = 3):
    """Fail."""
    return fit(load(rows)), explode(load(rows))
'''


@attrs.frozen
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        found = json.loads(self.out)
        assert isinstance(found, list)
        return found


@pytest.fixture
def flows(module: Callable[[str, str], Path]) -> Path:
    """A project with a module `flows`, loaded afresh for each test."""
    return module("flows", PIPELINES)


@pytest.fixture
def drystone(flows: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line in this process."""

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        code = main(list(arguments))
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def trained(drystone: Callable[..., Result]) -> Callable[..., Result]:
    """Two runs of a pipeline with a model, each with a version; the second differs in a parameter."""
    for rate in ("0.5", "0.75"):
        assert drystone("run", "flows:training", "--param", f"rate={rate}").code == 0
    return drystone
