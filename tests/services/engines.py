"""The real Docker engine of this machine, for tests.

`docker_engine` is a client of it, `base_image` the name of an image that it has, and `containers_left` tells which
containers a test has left behind, and removes them. The engine is shared, with other workers of pytest-xdist and
perhaps with people: a test looks at its own containers and images only.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.absences import absent

if TYPE_CHECKING:
    from docker import DockerClient

BASE_IMAGE = os.environ.get("DRYSTONE_TEST_BASE_IMAGE", "drystone-test-base:bookworm")
"""The image that tests build on: Debian with Python, pip and venv. `.ci/services` makes it."""

SERVICES = "`. .ci/services` as root starts the engine and makes the image"


def engine() -> DockerClient:
    """A client of the engine that `DOCKER_HOST` names, or of the one on the default socket; close it."""
    import docker
    from docker.errors import DockerException

    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if host.startswith("unix://"):  # where nobody listens, docker would leave its own socket open
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(host.removeprefix("unix://"))
        return docker.from_env()
    except (OSError, DockerException) as exc:
        return absent(f"There is no Docker engine at {host} ({exc}); {SERVICES}.")


def image(client: DockerClient, name: str = BASE_IMAGE) -> str:
    """The name of an image, if the engine has it: none can be fetched from elsewhere."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(name)
    except ImageNotFound:
        absent(f"The Docker engine has no image {name}, which DRYSTONE_TEST_BASE_IMAGE names; {SERVICES}.")
    return name


def mentioning(client: DockerClient, text: str) -> dict[str, str]:
    """Containers, running or not, with a text in their labels or their command: names by id."""

    def said(container: dict[str, Any]) -> str:
        return "\n".join([container["Command"], *(container["Labels"] or {}).values()])

    return {each["Id"]: each["Names"][0] for each in client.api.containers(all=True) if text in said(each)}


@contextlib.contextmanager
def removed(client: DockerClient, directory: Path) -> Iterator[Callable[..., list[str]]]:
    """Tells what mentions a directory, or another text, and removes at the end whatever mentions one of them."""
    from docker.errors import NotFound

    texts = {str(directory)}

    def left(text: str = str(directory)) -> list[str]:
        texts.add(text)
        return sorted(mentioning(client, text).values())

    try:
        yield left
    finally:
        for container in {each for text in texts for each in mentioning(client, text)}:
            with contextlib.suppress(NotFound):
                client.api.remove_container(container, force=True, v=True)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerClient]:
    """A client of the real engine."""
    with contextlib.closing(engine()) as client:
        yield client


@pytest.fixture(scope="session")
def base_image(docker_engine: DockerClient) -> str:
    """The name of the image that tests build on, which the engine has."""
    return image(docker_engine)


@pytest.fixture
def containers_left(docker_engine: DockerClient, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """Tells the names of the containers, running or not, that have a text in their labels or their command.

    By default the text is the directory of the test, as in the task of a step whose artifacts are there; the name of
    a bucket is another. Whatever is left of them is removed after the test.
    """
    with removed(docker_engine, tmp_path) as left:
        yield left
