"""The reference of hooks and contracts says what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from drystone import hookspecs, testing

ROOT = Path(__file__).parents[2]
WRITER = runpy.run_path(str(ROOT / "docs/references.py"), run_name="references")
PAGES: dict[Path, str] = WRITER["pages"]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_as_the_code_makes_it(page: Path) -> None:
    assert page.read_text() == PAGES[page], "Run `python docs/references.py`: hooks or contracts have changed."


def test_every_hook_has_its_signature_for_a_heading_and_a_plugin_that_uses_it() -> None:
    page = PAGES[ROOT / "docs/reference/hooks.md"]
    assert re.findall(r"^### `(\w+)\(", page, re.MULTILINE) == [*hookspecs.HOOKS]
    assert "### `drystone_run_started(run: Run) -> None`" in page
    assert {hook for hook in hookspecs.HOOKS if not WRITER["users_of"](hook)} == set()


def test_every_contract_has_its_fixtures_and_tests() -> None:
    page = PAGES[ROOT / "docs/reference/contracts.md"]
    contracts = [name for name in testing.__all__ if name.endswith("Contract")]
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == contracts
    assert "| `orchestrator` | required | The orchestrator under test. |" in page
    assert "| `examples` | required | " in page


def test_every_test_of_a_contract_says_what_it_claims() -> None:
    silent = [
        f"{name}.{test}"
        for name in testing.__all__
        if name.endswith("Contract")
        for test in dir(getattr(testing, name))
        if test.startswith("test_") and not getattr(getattr(testing, name), test).__doc__
    ]
    assert silent == []
