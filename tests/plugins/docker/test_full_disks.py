"""An engine whose disk is full: a real one, on a disk that is small."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from drystone.errors import EngineUnreachableError, ImageBuildError
from drystone_docker.builds import CACHE_VOLUME
from drystone_docker.engines import Engine, close, engine
from drystone_docker.images import Image
from drystone_docker.provisions import Images
from services.absences import absent

if TYPE_CHECKING:
    from docker import DockerClient

SIZE = 720 << 20
"""Bytes of the disk: twice the base image, and some."""

LEFT = 1 << 20
"""Bytes that are left of it: less than what a build is given."""


@attrs.frozen
class SmallEngine:
    """An engine on a disk of its own."""

    disk: Path

    @property
    def host(self) -> str:
        return f"unix://{self.disk}/engine.sock"

    def fill(self) -> None:
        """Leave next to nothing of the disk."""
        with (self.disk / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.disk).free - LEFT)


@pytest.fixture
def small_engine(docker_engine: DockerClient, base_image: str, tmp_path: Path) -> Iterator[SmallEngine]:
    """A second engine, which has the base image."""
    disk = Path(tempfile.mkdtemp(dir="/tmp"))  # paths of sockets are short
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        disk.rmdir()
        absent(f"No disk can be mounted here: {mounted.stderr.strip()}")
    made = SmallEngine(disk)
    places = ["--data-root", f"{disk}/data", "--exec-root", f"{disk}/exec", "--pidfile", f"{disk}/pid"]
    try:
        with (tmp_path / "dockerd.log").open("w") as log:
            apart = ["unshare", "--net"]  # else the two would share one bridge, and this one would spoil it
            command = [*apart, "dockerd", *places, "--host", made.host]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            awaited(made, process, tmp_path / "dockerd.log").client.images.load(
                docker_engine.images.get(base_image).save(named=True)
            )
            yield made
        finally:
            close()
            process.terminate()
            process.wait()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()


def awaited(made: SmallEngine, process: subprocess.Popen[bytes], log: Path) -> Engine:
    """The engine, once it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return engine(made.host)
        except EngineUnreachableError:
            if process.poll() is not None:
                absent(f"A second engine does not start here: {log.read_text()[-500:]}")
            assert time.monotonic() < deadline, log.read_text()
            threading.Event().wait(0.1)


def test_a_full_disk_is_told_and_nothing_is_left_on_it(
    small_engine: SmallEngine, base_image: str, tmp_path: Path
) -> None:
    small_engine.fill()
    project = tmp_path / "project"
    project.mkdir()
    there = engine(small_engine.host)
    with pytest.raises(ImageBuildError, match=r"the engine's disk is full\. `docker system df` tells what takes it"):
        Images(there, project).provide(Image(base_image=base_image))
    assert there.api.containers(all=True) == []
    assert [each["Name"] for each in there.api.volumes()["Volumes"] or ()] == [CACHE_VOLUME]
