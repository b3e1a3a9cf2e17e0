"""Steps in containers without steps: an orchestrator whose image needs no build, and what becomes of its jobs."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import attrs

from drystone_docker import DockerOrchestrator, Image


@attrs.frozen
class Ready:
    """One image for everything."""

    id: str

    def on_engine(self, image: Image) -> str:
        return self.id

    def problems(self, image: Image) -> list[str]:
        return []


@attrs.frozen(kw_only=True)
class PlainOrchestrator(DockerOrchestrator):
    """One whose images are that of the tests."""

    ready: str = ""

    @cached_property
    def images(self) -> Any:
        return Ready(self.ready)


@attrs.define
class Ended:
    """How a job has ended: its exit code or error, and what it printed."""

    code: int | Exception
    output: bytes


def ended(job: Any) -> Ended:
    """Follow a job to its end."""
    printed: list[bytes] = []
    follower = threading.Thread(target=lambda: printed.extend(job.logs()))
    follower.start()
    try:
        code = job.wait()
    except Exception as exc:
        code = exc
    follower.join()
    return Ended(code, b"".join(printed))
