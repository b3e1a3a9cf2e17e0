"""What tests of containers share: an orchestrator whose images have an interpreter, and nothing to be built."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drystone_docker.engines import close
from services.containers import Ended, PlainOrchestrator, ended

DOCKERFILE = "FROM {base}\nRUN python3 -m venv /opt/drystone\nLABEL org.drystone.tests=containers\n"


@pytest.fixture(scope="session")
def plain_image(docker_engine: Any, base_image: str) -> str:
    """An image with the interpreter that commands are run by."""
    file = io.BytesIO(DOCKERFILE.format(base=base_image).encode())
    built, _ = docker_engine.images.build(fileobj=file, rm=True, tag="drystone-tests:containers")
    return str(built.id)


@pytest.fixture
def uri() -> str:
    """The uri of a task that no other test has."""
    return f"test://{uuid.uuid4().hex}/tasks/training-1/train/1/task.json"


@pytest.fixture
def orchestrator(plain_image: str, base_image: str) -> Callable[..., PlainOrchestrator]:
    """Makes orchestrators whose image needs no build."""
    return lambda **settings: PlainOrchestrator(**{"ready": plain_image, "base_image": base_image, **settings})


@pytest.fixture
def launch(
    orchestrator: Callable[..., PlainOrchestrator], uri: str, containers_left: Callable[..., list[str]]
) -> Iterator[Callable[..., Any]]:
    """Launches Python code in a container; none may be left after the test, unless it takes them itself."""
    containers_left(uri)  # so that they are removed

    def launched(code: str, resources: Any = None, told: Any = None, secrets: Any = None, **settings: Any) -> Any:
        what = {"DRYSTONE_RUN": "training-1", "DRYSTONE_STEP": "train", "DRYSTONE_ATTEMPT": "1", **(told or {})}
        return orchestrator(**settings).launch(uri, ("python", "-c", code), resources, what, secrets or {})

    yield launched
    close()


@pytest.fixture
def run(launch: Callable[..., Any]) -> Callable[..., Ended]:
    """Runs Python code in a container, to its end."""
    return lambda *given, **settings: ended(launch(*given, **settings))
