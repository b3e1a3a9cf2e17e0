"""`--detach`: the same command line in a session of its own, which goes on whatever becomes of the terminal."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

import drystone
from drystone_cli import records, tables
from drystone_cli.main import ARGUMENTS

CHANNEL = "DRYSTONE_DETACHED"
"""The environment variable that says where a detached process reports: a descriptor, and the file it prints to."""


def start(ctx: click.Context, *, as_json: bool) -> None:
    """Start the command line of this context in the background, wait until its run has a name, and leave.

    In the process that was started like that it returns, so that the command goes on.
    """
    if ctx.obj:
        raise click.UsageError("--debug needs the terminal that --detach leaves. Give one of them.")
    if CHANNEL in os.environ:
        descriptor, _, path = os.environ.pop(CHANNEL).partition(":")
        os.set_inheritable(int(descriptor), False)
        ctx.meta[CHANNEL] = (int(descriptor), Path(path))
        return
    output = records.workspace().directory / "detached" / f"{os.urandom(8).hex()}.log"
    output.parent.mkdir(exist_ok=True)
    pid, said, code = _started(ctx.meta[ARGUMENTS], output)
    if not said:
        print(output.read_text(errors="replace"), end="", file=sys.stderr)
        output.unlink()
        if code <= 0:
            raise click.ClickException(f"The process in the background ended with {code}, before the run began.")
        ctx.exit(code)
    found = {**json.loads(said), "pid": pid}
    tables.answer(found, _text(found), as_json=as_json)
    ctx.exit(0)


def _started(arguments: list[str], output: Path) -> tuple[int, str, int]:
    """The process id, what it reported, and the exit code if it ended without that."""
    reading, writing = os.pipe()
    with open(reading) as channel, output.open("xb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "drystone_cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            pass_fds=[writing],
            env={**os.environ, CHANNEL: f"{writing}:{output}"},
        )
        os.close(writing)
        try:
            said = channel.read()
            return process.pid, said, 0 if said else process.wait()
        except KeyboardInterrupt:  # which does not reach another session
            process.send_signal(signal.SIGINT)
            raise


def _text(found: dict[str, Any]) -> str:
    name = found["run"]
    return (
        f"{name} runs in the background, as process {found['pid']}.\n"
        f"follow:  drystone logs {name} --follow\n"
        f"cancel:  drystone cancel {name}\n"
        f"output:  {found['output']}"
    )


@contextlib.contextmanager
def reporting(ctx: click.Context) -> Iterator[None]:
    """Report the run that begins in this block, if somebody waits for that."""
    if CHANNEL not in ctx.meta:
        yield
        return
    with drystone.load_plugins().observed(Reporter(*ctx.meta[CHANNEL]), "drystone-cli-detached"):
        yield


class Reporter:
    """Reports the name of the first run that begins in this process, and names the file it prints to after it."""

    def __init__(self, channel: int, output: Path) -> None:
        self._channel: int | None = channel
        self._output = output

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """Report it."""
        if self._channel is None:
            return
        channel, self._channel = self._channel, None
        said = json.dumps({"run": run.name, "output": str(self._renamed(run.name))})
        with contextlib.suppress(OSError), open(channel, "w") as file:  # nobody may wait any more
            file.write(said)

    def _renamed(self, run: str) -> Path:
        """The file, renamed; what the same run printed before it was resumed stays."""
        name = quote(run, safe="")
        names = itertools.chain([name], (f"{name}-resumed-{number}" for number in itertools.count(1)))
        paths = (self._output.with_name(f"{each}.log") for each in names)
        with contextlib.suppress(OSError):
            return self._output.rename(next(path for path in paths if not path.exists()))
        return self._output
