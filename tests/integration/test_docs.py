"""The examples of the how-to pages and the tutorial: each page is followed, block by block, in a folder of its own.

How a page is written so that it can be followed is told in docs/contributing.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/how-to/*.md"), *ROOT.glob("docs/tutorial*.md")])
SKIP = "<!-- not run -->"
INSTALLS = "uv pip install"
"""What a page has that must be followed in an environment of its own."""

SHORT = {"write-an-orchestrator": 40, "write-an-artifact-store": 90}
"""Pages that promise that few lines are enough: all lines of all files together stay below this."""


@attrs.frozen
class Block:
    """A fenced block of a page: its language, the name of the file it holds if any, its text, and its line."""

    language: str
    file: str
    text: str
    line: int


@attrs.frozen
class Command:
    """A line after `$` in a console block, the exit code and the output that follow it, and its line in the page."""

    words: str
    code: int
    output: list[str]
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, but for those below the comment that excludes them."""
    for found in re.finditer(rf"^({SKIP}\n+)?```(\w+) ?(.*)\n((?:.*\n)*?)```$", page, re.MULTILINE):
        skipped, language, title, text = found.groups()
        named = re.match(r"# ([\w./-]+\.\w+)$", text, re.MULTILINE)
        if skipped is None:
            line = page.count("\n", 0, found.start(4)) + 1
            yield Block(language, title or (named[1] if named else ""), text, line)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; `# exits with 2` at the end of a line is the code it is to exit with."""
    lines = block.text.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words, _, code = lines[start].removeprefix("$ ").partition("  # exits with ")
        yield Command(words, int(code or 0), lines[start + 1 : end], block.line + start)


def fits(expected: list[str], output: str) -> bool:
    """Whether an output is as expected: `…` on a line of its own stands for any lines, within one for any text."""
    lines = [
        "(?:.*\n)*" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"[ \t]*\n" for line in expected
    ]
    return re.fullmatch("".join(lines), f"{output.rstrip()}\n") is not None


def follow(page: str, folder: Path, scripts: Path = Path(sys.executable).parent) -> None:
    """Do what a page says: write its files, run its scripts and commands, and compare what they print.

    Args:
        page: Its text.
        folder: Where.
        scripts: The directory of the Python that is used, and of the commands beside it.
    """
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
        elif block.language == "python":
            (folder / f"line_{block.line}.py").write_text(block.text)
            _run(Command(f"python line_{block.line}.py", 0, ["…"], block.line), folder, scripts)
        elif block.language == "console":
            for command in commands(block):
                _run(command, folder, scripts)


def _run(command: Command, folder: Path, scripts: Path) -> None:
    path = f"{scripts}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command.words],
        cwd=folder,
        env={
            **os.environ,
            "PATH": path,
            "VIRTUAL_ENV": str(scripts.parent),
            "COLUMNS": "200",
            "XDG_CACHE_HOME": str(folder / ".cache"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    told = f"line {command.line}: $ {command.words}\n{done.stdout}"
    assert done.returncode == command.code, told
    assert not command.output or fits(command.output, done.stdout), told


def test_there_are_pages() -> None:
    assert PAGES


@pytest.mark.parametrize(
    "page", [page for page in PAGES if INSTALLS not in page.read_text()], ids=lambda page: page.stem
)
def test_a_page_can_be_followed(page: Path, project: Path) -> None:
    follow(page.read_text(), project)


@pytest.mark.parametrize("page", [page for page in PAGES if INSTALLS in page.read_text()], ids=lambda page: page.stem)
def test_a_page_that_installs_things_can_be_followed_in_a_fresh_environment(
    page: Path, project: Path, environment: Path
) -> None:
    (project / "pyproject.toml").unlink()
    follow(page.read_text(), project, environment)


@pytest.mark.parametrize("page", SHORT)
def test_a_page_that_promises_to_be_short_is(page: str) -> None:
    files = [block for block in blocks((ROOT / f"docs/how-to/{page}.md").read_text()) if block.file]
    lines = [line for block in files for line in block.text.splitlines() if line.strip()]
    assert 20 < len(lines) < SHORT[page]


PAGE = """
Write a file:

```python
# greetings.py
print("hello")
print("world")
```

```console
$ python greetings.py
hello
…
$ python -c "import sys; sys.exit('no 42 way')"  # exits with 1
no … way
$ cat data/numbers.json
```

```python
import greetings
```

<!-- not run -->

```console
$ false
```
"""


def test_a_page_that_does_not_do_what_it_says_is_told_with_its_line(project: Path) -> None:
    with pytest.raises(AssertionError, match=r"line 16: \$ cat data/numbers.json"):
        follow(PAGE, project)
    whole = "```json data/numbers.json\n[1]\n```\n" + PAGE
    follow(whole, project)
    assert (project / "data/numbers.json").read_text() == "[1]\n"
    with pytest.raises(AssertionError, match=r"line 14: \$ python greetings.py\n +hello\n +world"):
        follow(whole.replace("hello\n…", "hello\nmoon"), project)
    with pytest.raises(AssertionError, match=r"line 17: "):
        follow(whole.replace("  # exits with 1", ""), project)
    with pytest.raises(AssertionError, match=r"python line_23\.py"):
        follow(whole.replace("import greetings", "import absent"), project)


@pytest.mark.parametrize(
    ("expected", "output", "answer"),
    [
        (["a", "…"], "a\n", True),
        (["…", "b"], "a\na\nb\n", True),
        (["a … c"], "a b c\n", True),
        (["a … c"], "a b d\n", False),
        (["a.c"], "abc", False),
        (["a", "", "b"], "a\n\nb\n", True),
        (["a"], "a\nb\n", False),
    ],
)
def test_dots_stand_for_what_is_left_out(expected: list[str], output: str, answer: bool) -> None:
    assert fits(expected, output) is answer
