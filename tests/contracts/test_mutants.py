"""Every broken component is caught by the contract of its kind, and by the test that is meant to catch it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def mutants() -> Iterator[tuple[str, str, str]]:
    """File, class and expected test of each mutant, read without importing anything."""
    for file in sorted(HERE.glob("mutants_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                said = {
                    target.id: ast.literal_eval(each.value)
                    for each in node.body
                    if isinstance(each, ast.Assign)
                    for target in each.targets
                    if isinstance(target, ast.Name) and target.id == "caught_by"
                }
                yield file.name, node.name, said["caught_by"]


MUTANTS = list(mutants())


@pytest.mark.parametrize(("file", "name", "caught_by"), MUTANTS, ids=[name for _, name, _ in MUTANTS])
def test_the_mutant_is_caught(file: str, name: str, caught_by: str, failures: Callable[..., dict[str, str]]) -> None:
    failed = failures(f"{HERE / file}::{name}", "-k", caught_by)
    assert any(each.partition("[")[0] == caught_by for each in failed), f"{caught_by} let it pass; failed: {failed}"
