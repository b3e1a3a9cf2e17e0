"""Mutants: components that are broken on purpose, each of which the contract of its kind must catch.

A file `mutants_<kind>.py` holds one test class per mutant, which inherits the contract and says in `caught_by` which of
its tests has to fail. Those files are not collected; `test_mutants.py` runs each class in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest


@pytest.fixture
def failures(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Runs tests, given as pytest takes them, in a process of their own; returns what failed, with its message."""

    def run(*arguments: str) -> dict[str, str]:
        report = tmp_path / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert report.exists(), done.stdout + done.stderr
        cases = ElementTree.parse(report).iter("testcase")
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return {
            case.get("name", ""): (found.get("message") or "") + (found.text or "")
            for case in cases
            for found in (*case.iter("failure"), *case.iter("error"))
        }

    return run
