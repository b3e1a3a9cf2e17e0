"""A team that shares a workspace: several machines, each a home of its own on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from services.forks import Fork

SERVICES = Path(__file__).parents[1]

STACKS = """
from drystone import Stack
from drystone_local import LocalOrchestrator
from drystone_s3 import S3ArtifactStore

default = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=S3ArtifactStore("s3://{bucket}/artifacts"))
"""


@attrs.frozen
class Team:
    """Those who share a project and its workspace.

    Attributes:
        project: Their checkout; they may share it, or have one each.
        settings: Variables of the environment that lead to the workspace.
    """

    project: Path
    settings: Mapping[str, str] = attrs.field(repr=False)

    @classmethod
    def on_bucket(cls, project: Path, endpoint_url: str, bucket: str) -> Team:
        """A team whose workspace and artifacts are in a bucket; credentials are in the environment."""
        (project / "stacks.py").write_text(STACKS.format(bucket=bucket))
        return cls(project, {"AWS_ENDPOINT_URL": endpoint_url, "DRYSTONE_WORKSPACE": f"s3://{bucket}/workspace"})

    def environment(self, member: str) -> dict[str, str]:
        """Of a process of one member: with a home of its own, and without what nobody asked for."""
        return {
            **os.environ,
            **self.settings,
            "XDG_CACHE_HOME": str(self.project / "homes" / member),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SERVICES), os.environ.get("PYTHONPATH")))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, member: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process of Python."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.project,
            env=self.environment(member) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fork(self, member: str, *words: str) -> Fork:
        """The same by a fork, which takes a tenth of the time."""
        return Fork(words, self.project, self.environment(member))

    def do(self, member: str, *words: str, **environment: str) -> str:
        """What a process prints; it has to go well."""
        with ended(self.start(member, *words, **environment)) as process:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, out + err
            return out


@contextmanager
def ended(*processes: subprocess.Popen[Any] | Fork) -> Iterator[Any]:
    """The process, or all of them, which are gone afterwards."""
    try:
        yield processes[0] if len(processes) == 1 else processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
