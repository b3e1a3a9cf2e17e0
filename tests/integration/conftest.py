"""The `drystone` command as a user meets it: a process of its own in the project's directory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest


@attrs.frozen
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What it complains about, which must be one paragraph on stderr, and all there is."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        return self.err.removesuffix("\n")

    @property
    def last(self) -> str:
        """The last line on stderr: what it complains about, after it told how steps went."""
        return self.err.splitlines()[-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        found = json.loads(self.out)
        assert isinstance(found, list)
        return found


@pytest.fixture
def command(python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Said]:
    """Runs a command line of `drystone` in a process of its own."""
    script = Path(sys.executable).with_name("drystone")

    def run(*arguments: str, **options: Any) -> Said:
        done = python(str(script), *arguments, **options)
        return Said(done.returncode, done.stdout, done.stderr)

    return run
