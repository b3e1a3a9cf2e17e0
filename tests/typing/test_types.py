"""What static type-checkers see of steps and pipelines."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_steps_and_pipelines_have_the_types_of_their_functions() -> None:
    pytest.importorskip("mypy", reason="mypy is in the dependency group `typing`, which is not installed")
    command = [sys.executable, "-m", "mypy", "tests/typing/promises.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
