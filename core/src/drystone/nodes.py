"""The nodes of a code graph, and how functions and values are named and shown in it."""

from __future__ import annotations

import reprlib
import types
from typing import Any

import attrs

from drystone.digests import type_name

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 400
_SHOWN.maxdict = _SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxset = 40


@attrs.define(eq=False)
class Node:
    """Something that code reaches.

    Attributes:
        name: Canonical, as in `library.Scaler.fit`.
        value: The object itself.
        member: Whether it is told apart in a closure; what is installed or built in is not.
        content: What it is, apart from what it reaches.
        source: What to show of it.
        edges: What it reaches, under the name it uses.
        package: The distribution it is from.
        problem: Why no digest can stand for it.
        edited: Its file was edited since it was loaded.
    """

    name: str
    value: Any = attrs.field(repr=False)
    member: bool = True
    content: bytes = attrs.field(default=b"", repr=False)
    source: str | None = attrs.field(default=None, repr=False)
    edges: list[tuple[str, Node]] = attrs.field(factory=list, repr=False)
    package: tuple[str, str] | None = None
    problem: str | None = None
    edited: bool = False


def unreadable(node: Node, exc: BaseException) -> str:
    """The problem of a node whose state cannot be encoded."""
    reason = f"{type(exc).__name__}: {exc}".partition("\n")[0]
    return (
        f"{node.name} is a {type_name(type(node.value))}, whose state cannot be told apart from another's ({reason}). "
        f"Make it inside the step, pass it as a parameter or an artifact, or, if it does not change the result, "
        f"declare @step(ignore={node.name!r})."
    )


def shown(value: object) -> str | None:
    """A value as its members' differences are shown to people, shortened."""
    try:
        return _SHOWN.repr(value)[:500]
    except Exception:
        return None


def qualified(function: types.FunctionType) -> str:
    """The name its code was compiled under, which decorators do not change; generated code has none of its own."""
    return function.__qualname__ if function.__code__.co_filename.startswith("<") else function.__code__.co_qualname


def is_filled(cell: types.CellType) -> bool:
    """Whether a closure variable has been given a value yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
