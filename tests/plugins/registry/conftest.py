"""Small images, and registries to push them to."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.registries import free_port

if TYPE_CHECKING:
    from docker import DockerClient


def archived(text: str) -> bytes:
    """A file system with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("text")
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(scope="session")
def small_image(docker_engine: DockerClient) -> Iterator[Callable[[str], str]]:
    """Makes small images in the real engine, one for each text, which are removed when all tests are done.

    They are imported: a build in parts fails now and then where others remove images meanwhile.
    """
    from docker.errors import APIError

    session = os.urandom(8).hex()

    @functools.cache
    def make(text: str) -> str:
        changes = [f'LABEL text="{text}" session="{session}"']
        said = docker_engine.api.import_image_from_data(archived(text), changes=changes)
        images.append(json.loads(said)["status"])
        return images[-1]

    images: list[str] = []
    yield make
    for image in images:
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
