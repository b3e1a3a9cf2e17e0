"""Processes that are forked from one that has imported everything: a tenth of the time that a new Python takes."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PRELOADED = (
    "pytest",
    "drystone_local",
    "drystone_data",
    "drystone_s3",
    "drystone.execution",
    "s3fs",
    "botocore.session",
)

_server = multiprocessing.get_context("forkserver")


class Fork:
    """A process that runs a script, or a module after `-m`, and can be asked what a `subprocess.Popen` can be."""

    def __init__(self, words: tuple[str, ...], cwd: Path, environment: Mapping[str, str]) -> None:
        _server.set_forkserver_preload([*PRELOADED])
        said = Path(tempfile.mkdtemp(prefix="said-", dir=cwd))
        self._files = [said / name for name in ("out", "err")]
        arguments = (words, str(cwd), dict(environment), [*map(str, self._files)])
        self._process = _server.Process(target=run, args=arguments)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """As of a subprocess; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As of a subprocess; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"A process does not end within {timeout} s: {self._texts()}")
        return self._texts()

    def _texts(self) -> tuple[str, str]:
        out, err = (file.read_text() if file.exists() else "" for file in self._files)
        return out, err


def run(words: tuple[str, ...], cwd: str, environment: dict[str, str], files: list[str]) -> None:
    """Be the process: like Python with these words on its command line."""
    for number, file in enumerate(files, 1):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, cwd)
    sys.argv = [*words]
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")
