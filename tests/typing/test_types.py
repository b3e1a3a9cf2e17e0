"""What static type checkers see of steps and pipelines."""

import itertools
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from drystone.fitting import fits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def output_of(checker: str, *command: str) -> str:
    """What a type checker prints, run by module name; skips where it is not installed."""
    if find_spec(checker) is None:
        assert "DRYSTONE_REQUIRE_SERVICES" not in os.environ, f"{checker} is not installed"
        pytest.skip(f"{checker} is in the dependency group `typing`, which is not installed")
    arguments = [sys.executable, "-m", checker, *command]
    # of the wheel that pyright brings, so that nothing is downloaded
    environment = {**os.environ, "MYPYPATH": str(HERE), "PYRIGHT_PYTHON_GLOBAL_NODE": "0"}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout


def mypy(file: str) -> dict[int, set[str]]:
    """The rules that mypy finds broken, by line."""
    lines = output_of("mypy", "--output=json", f"tests/typing/{file}").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return by_line((each["line"], each["code"]) for each in found if each["severity"] == "error")


def pyright(file: str) -> dict[int, set[str]]:
    """The rules that pyright finds broken, by line."""
    command = ("--outputjson", "-p", "tests/typing", "--pythonpath", sys.executable)
    found: list[dict[str, Any]] = json.loads(output_of("pyright", *command))["generalDiagnostics"]
    mine = [each for each in found if Path(each["file"]).name == file]
    return by_line((each["range"]["start"]["line"] + 1, each.get("rule", "syntax")) for each in mine)


def by_line(broken: Any) -> dict[int, set[str]]:
    rules: dict[int, set[str]] = {}
    for line, rule in broken:
        rules.setdefault(line, set()).add(rule)
    return rules


def marked(file: str, checker: str) -> dict[int, set[str]]:
    """The rules that the comments of a file say a checker finds broken, by line."""
    notes = [re.search(rf"  # .*?\b{checker}: ([\w -]+)", line) for line in (HERE / file).read_text().splitlines()]
    return {number: set(note[1].split()) for number, note in enumerate(notes, 1) if note}


CHECKERS = {"mypy": mypy, "pyright": pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_steps_and_pipelines_have_the_types_of_their_functions(checker: str) -> None:
    assert CHECKERS[checker]("promises.py") == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_found_and_nothing_else(checker: str) -> None:
    expected = marked("mistakes.py", checker)
    assert len(expected) > 30
    assert CHECKERS[checker]("mistakes.py") == expected


DECLARED = """
import collections.abc
import decimal
from typing import Any, Literal, NamedTuple, NewType, Protocol, TypedDict

class Animal: ...
class Dog(Animal):
    def bark(self) -> None: ...
class Stone: ...
class Barks(Protocol):
    def bark(self) -> None: ...
class Ints(list[int]): ...
class Row(TypedDict):
    name: str
class Person(Row):
    age: int
class Pair(NamedTuple):
    one: int
    two: str
Metres = NewType("Metres", float)
Feet = NewType("Feet", float)
Steps = NewType("Steps", Metres)
"""
SIMPLE = (
    *("None", "bool", "int", "float", "complex", "str", "bytes", "Any", "object", "decimal.Decimal", "range"),
    *("Animal", "Dog", "Stone", "Barks", "Ints", "Row", "Person", "Pair", "Metres", "Feet", "Steps", "Literal[1]"),
    *("Literal['a']", "Literal['a', 'b']", "int | None", "int | str", "list[int] | Row"),
)
INSIDE = (
    *("list[{}]", "set[{}]", "tuple[{}, int]", "tuple[{}, ...]", "dict[str, {}]", "type[{}]"),
    *("collections.abc.Sequence[{}]", "collections.abc.Iterable[{}]", "collections.abc.Mapping[str, {}]"),
    *("collections.abc.Callable[[{}], str]", "collections.abc.Callable[[], {}]"),
)
NESTED = [each.format(inner) for each in INSIDE for inner in ("int", "str", "Dog", "Metres", "bool | str")]


def test_an_edge_that_is_refused_is_one_that_a_type_checker_refuses(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec(DECLARED, names)
    annotations = {text: eval(text, names) for text in (*SIMPLE, *NESTED)}
    pairs = [
        (one, other)
        for one, other in itertools.product(annotations, repeat=2)
        if not fits(annotations[one], annotations[other])
    ]
    start = DECLARED.count("\n") + 1
    bodies = [f"def f{number}(x: {one}) -> {other}: return x\n" for number, (one, other) in enumerate(pairs)]
    file = tmp_path / "edges.py"
    file.write_text(DECLARED + "".join(bodies))
    output = output_of("mypy", "--output=json", "--strict", str(file))
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    wrong = {each["line"] for each in found if each["code"] == "return-value"}
    assert len(pairs) > 4000
    assert [pair for line, pair in enumerate(pairs, start) if line not in wrong] == []
