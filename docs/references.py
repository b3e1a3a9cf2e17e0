"""Writes the pages of docs/reference that are made from the code: `python docs/references.py`.

A test (tests/core/test_references.py) fails while the pages say something else than the code.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drystone import hookspecs, testing

DOCS = Path(__file__).parent
ROOT = DOCS.parent

HOOKS_PAGE = """
# Hooks

A plugin is a module that an entry point of the group `drystone` names; its functions that are marked with
`drystone.hookimpl` fill the hooks of the same names. *Offers* are plural nouns and return what the plugin brings.
*Events* are a subject and what happened to it; they get a frozen record and return nothing.

A function may leave out arguments that it does not need. One that is misspelt, or takes something that the hook does
not have, makes its plugin broken, and `drystone plugins doctor` says why.
[What may change, and how](compatibility.md) is a promise.

<!-- Made by docs/references.py from core/src/drystone/hookspecs.py. -->
"""

CONTRACTS_PAGE = """
# Contracts

What every component of a kind does is written down as tests: classes of `drystone.testing` that the tests of a
component inherit (`pip install "drystone-core[testing]"`). A component that passes works with everything else; what a
failing test expects is in its message. The contracts are themselves tested, by components that are broken on purpose,
each of which must be caught.

A fixture marked *required* is yours to give; the others have a default that you can override.

<!-- Made by docs/references.py from the modules of drystone.testing. -->
"""


def pages() -> dict[Path, str]:
    """What each page should hold."""
    return {DOCS / "reference/hooks.md": hooks_page(), DOCS / "reference/contracts.md": contracts_page()}


def hooks_page() -> str:
    """Every hook: signature, meaning, example, and who uses it."""
    parts = [HOOKS_PAGE.strip()]
    for title, names in (("Offers", hookspecs.OFFERS), ("Events", hookspecs.EVENTS)):
        parts += [f"## {title}", *map(_hook, names)]
    return "\n\n".join(parts) + "\n"


def _hook(name: str) -> str:
    function = getattr(hookspecs, name)
    users = [f"[{path.relative_to(ROOT)}](../../{path.relative_to(ROOT)})" for path in users_of(name)]
    heading = f"### `{name}{signature(function)}`"
    return "\n\n".join([heading, *_prose(inspect.getdoc(function) or ""), f"Used by {', '.join(users)}."])


def signature(function: Any) -> str:
    """A signature as it is written in the source."""
    return str(inspect.signature(function)).replace("'", "")


def users_of(hook: str) -> list[Path]:
    """The files of our plugins that implement a hook; of none, the pages that do."""
    files = [*ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("contrib/*/src/**/*.py")]
    found = [path for path in files if f"def {hook}(" in path.read_text(encoding="utf-8")]
    pages = [*DOCS.glob("how-to/*.md"), *DOCS.glob("tutorial*.md")]
    return sorted(found) or sorted(path for path in pages if f"def {hook}(" in path.read_text(encoding="utf-8"))


def contracts_page() -> str:
    """Every contract: how it is inherited, fixtures, tests."""
    contracts = [getattr(testing, name) for name in testing.__all__ if name.endswith("Contract")]
    return "\n\n".join([CONTRACTS_PAGE.strip(), *map(_contract, contracts)]) + "\n"


def _contract(contract: type) -> str:
    members = {name: value for cls in reversed(contract.__mro__) for name, value in vars(cls).items()}
    rows = [
        f"| `{name}` | {_need(contract, name)} | {_first_line(value)} |" for name, value in _given(contract, members)
    ]
    tests = [
        f"| {name.removeprefix('test_').replace('_', ' ')} | {_first_line(value)} |"
        for cls in contract.__mro__
        for name, value in vars(cls).items()
        if name.startswith("test_")
    ]
    table = ["| fixture or method | | what it is |", "|---|---|---|", *rows]
    checks = ["| test | |", "|---|---|", *tests]
    shown = [f"## {contract.__name__}", *_prose(inspect.getdoc(contract) or "")]
    return "\n\n".join([*shown, *(["\n".join(table)] if rows else []), "\n".join(checks)])


def _given(contract: Any, members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fixtures, and methods that have no default."""
    for name, value in members.items():
        if type(value).__name__ == "FixtureFunctionDefinition" or name in contract.__abstractmethods__:
            yield name, value


def _need(contract: Any, name: str) -> str:
    return "required" if name in contract.__abstractmethods__ else "optional"


def _first_line(value: Any) -> str:
    function = getattr(value, "_fixture_function", value)
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split()).replace("|", "\\|")


def _prose(text: str) -> Iterator[str]:
    """A docstring as Markdown: paragraphs, lists of attributes, and code below `::`."""
    is_code = False
    for block in _blocks(text):
        title, _, rest = block.partition("\n")
        if is_code:
            yield f"```python\n{textwrap.dedent(block)}\n```"
        elif re.fullmatch(r"[A-Z][a-z ]+:", title) and rest:
            body = textwrap.dedent(rest)
            yield f"**{title}**" if title != "Returns:" else f"**Returns** {' '.join(body.split())}"
            if title != "Returns:":
                yield "\n".join(_items(body))
        else:
            yield "**Example**" if block == "Example::" else re.sub(r"::$", ":", block)
        is_code = block.endswith("::")


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; indented ones below `::` are one, whatever empty lines they have."""
    code: list[str] = []
    ends_in_colons = False
    for block in text.split("\n\n"):
        if ends_in_colons and block.startswith(("    ", "\n    ")):
            code.append(block)
            continue
        if code:
            yield "\n\n".join(code)
            code = []
        yield block
        ends_in_colons = block.endswith("::")
    if code:
        yield "\n\n".join(code)


def _items(body: str) -> Iterator[str]:
    """`name: text` as a list."""
    for item in re.split(r"\n(?=\S)", body):
        name, _, meaning = item.partition(":")
        yield f"- `{name}`: {' '.join(meaning.split())}"


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
