"""Small images, and registries to push them to."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.registries import free_port

if TYPE_CHECKING:
    from docker import DockerClient

DOCKERFILE = 'FROM scratch\nCOPY text /text\nLABEL text="{text}" session="{session}"\n'


def context(text: str, session: str) -> io.BytesIO:
    """What an image is built of; the same bytes for the same text, so that the engine knows it again."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in (("text", text), ("Dockerfile", DOCKERFILE.format(text=text, session=session))):
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    packed.seek(0)
    return packed


@pytest.fixture(scope="session")
def small_image(docker_engine: DockerClient) -> Iterator[Callable[[str], str]]:
    """Makes small images in the real engine, which are removed when all tests are done."""
    from docker.errors import APIError

    session, made = os.urandom(8).hex(), set()

    def make(text: str) -> str:
        said = docker_engine.api.build(
            fileobj=context(text, session), custom_context=True, decode=True, rm=True, forcerm=True
        )
        (image,) = (each["aux"]["ID"] for each in said if "aux" in each)
        made.add(image)
        return str(image)

    yield make
    for image in made:
        with contextlib.suppress(APIError):
            docker_engine.api.remove_image(image, force=True)


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of Docker's own settings, which is empty: what this machine's owner has stored does not matter."""
    directory = tmp_path / "docker-config"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    return directory


@pytest.fixture
def closed_port() -> int:
    """A port where nobody answers."""
    return free_port()
