"""docs/how-to/debugging.md: its examples, as they stand, with an edit and somebody typing between them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone.comparisons import Difference
from drystone.runs import Cause, StepExplanation, StepPlan

PAGE = (Path(__file__).parents[2] / "docs/how-to/debugging.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def timeless(text: str) -> str:
    """A text without how long things took, which differs each time."""
    lines = [line for line in text.splitlines() if not line.startswith("      duration ")]
    return re.sub(r"\b[\d.]+ m?s\b", "T", "\n".join(lines)).strip()


@pytest.fixture
def walls(project: Path, workspace: Any, command: Callable[..., Any]) -> Path:
    """The project after the edit that the page describes, and the runs it speaks of."""
    file = project / "walls.py"
    file.write_text(blocks("python")[0])
    assert command("run", "walls.py:training").code == 0
    before, after = (line[1:] for line in blocks("diff")[0].splitlines())
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    return file


def test_every_command_of_the_page_says_what_the_page_says(walls: Path, command: Callable[..., Any]) -> None:
    *shown, debugging = blocks("console")
    for block in shown:
        line, _, expected = block.partition("\n")
        said = command(*line.removeprefix("$ drystone ").split())
        assert said.err == ""
        assert timeless(said.out) == timeless(expected)
        if line.startswith("$ drystone plan"):
            assert said.code == 2
            assert command("run", "walls.py:training", "--param", "share=0.75").code == 0
    assert command("run", "walls.py:training", "--param", "share=1").code == 1
    check_session(walls.parent, debugging)


def check_session(project: Path, block: str) -> None:
    """That a session with the debugger goes as it is shown."""
    line, *lines = block.splitlines()
    command = [str(Path(sys.executable).with_name("drystone")), *line.removeprefix("$ drystone ").split()]
    typed = "".join(each.removeprefix("(Pdb) ") + "\n" for each in lines if each.startswith("(Pdb) "))
    done = subprocess.run(command, input=typed, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    said = [each.removeprefix("(Pdb) ").replace(f"{project}/", "") for each in done.stdout.splitlines()]
    assert [each for each in lines if not each.startswith("(Pdb) ")] == said[: len(said) - (said[-1] == "")]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: IndexError: list index out of range"


@pytest.mark.parametrize(("command", "record"), [("plan", StepPlan), ("why", StepExplanation), ("diff", Difference)])
def test_the_page_names_the_fields_of_json(command: str, record: type[attrs.AttrsInstance]) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{command}` |"))
    assert set(re.findall(r"`(\w+)`", row)) >= {field.name for field in attrs.fields(record)}


def test_the_page_tells_every_kind_of_cause() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE.partition("| kind | means |")[2]))
    assert set(re.findall(r"`(\w+)`", Cause.__doc__ or "")) - {"run"} <= told
