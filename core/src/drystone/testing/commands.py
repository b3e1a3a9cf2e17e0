"""An orchestrator that launches commands on this machine, to test how those are driven."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import attrs

from drystone.options import Resources
from drystone.orchestrators import Orchestrator

PIECE = 1 << 16
"""Bytes that are read at once."""


class CommandJob:
    """A command as a process of this machine, with everything that it starts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def logs(self) -> Iterator[bytes]:
        """What it prints."""
        assert self._process.stdout is not None  # for type checkers
        with self._process.stdout as stream:
            while piece := os.read(stream.fileno(), PIECE):
                yield piece

    def wait(self) -> int:
        """Its exit code; what it has left behind is ended, which might go on printing."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # while it is not waited for, its id is its own
        self.cancel()
        return self._process.wait()

    def cancel(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError, PermissionError):  # which macOS says of what has ended
            os.killpg(self._process.pid, signal.SIGKILL)


@attrs.frozen(kw_only=True)
class CommandOrchestrator(Orchestrator):
    """Runs each step as a command of its own on this machine.

    Attributes:
        python: The interpreter.
        jobs_at_once: How many commands run at the same time.
    """

    python: str = sys.executable
    jobs_at_once: int = 4

    @property
    def concurrency(self) -> int:
        """As many as its setting says."""
        return self.jobs_at_once

    def launch(
        self,
        task_uri: str,
        command: Sequence[str],
        resources: Resources | None,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> CommandJob:
        """Start a process; secrets go to its standard input."""
        process = subprocess.Popen(
            [self.python, "-u", *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "DRYSTONE_SECRETS": "-"},
            start_new_session=True,
        )
        assert process.stdin is not None  # for type checkers
        with suppress(BrokenPipeError), process.stdin as stream:
            stream.write(json.dumps(dict(secrets)).encode() + b"\n")
        return CommandJob(process)
