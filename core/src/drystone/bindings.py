"""Bindings: what the parameters of a step are bound to in a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from drystone.declarations import Reference

if TYPE_CHECKING:  # records, which no declaration needs
    from drystone.artifacts import ArtifactVersion, Manifest


@attrs.frozen
class Value:
    """A parameter bound to a plain value."""

    value: Any


@attrs.frozen
class OutputRef:
    """A parameter bound to what another node makes."""

    node: str
    output: str


@attrs.frozen
class Lookup:
    """A parameter bound to an artifact that exists before the run."""

    reference: Reference | ArtifactVersion


@attrs.frozen
class Items:
    """A list, tuple, dict or named tuple with something to resolve inside.

    Attributes:
        kind: The name of its class.
        items: What is inside.
        keys: Of a dict.
        container: Its class.
    """

    kind: str
    items: tuple[Binding, ...]
    keys: tuple[Any, ...] = ()
    container: type = attrs.field(default=list, eq=False, repr=False)


@attrs.frozen
class Part:
    """A parameter of an element of a map, bound to a part of a list: its place there, and what it consists of."""

    place: int
    manifest: Manifest


Binding = Value | OutputRef | Lookup | Items | Part


def leaves(binding: Binding) -> Iterator[Value | OutputRef | Lookup | Part]:
    """A binding, or those inside it."""
    if isinstance(binding, Items):
        for item in binding.items:
            yield from leaves(item)
    else:
        yield binding


def filled(container: Any, keys: Iterable[Any], items: list[Any]) -> Any:
    """What `Items` stand for, once everything inside is known."""
    if container is dict:
        return dict(zip(keys, items, strict=True))
    return container._make(items) if hasattr(container, "_make") else container(items)


def members(binding: Binding) -> Sequence[Binding]:
    """What the members of a list that is known when the graph is built are bound to."""
    if isinstance(binding, Items):
        return binding.items
    return [Value(item) for item in binding.value] if isinstance(binding, Value) else ()


def lookups(binding: Binding) -> Iterator[Reference | ArtifactVersion]:
    """Every artifact from before the run that a binding needs."""
    return (leaf.reference for leaf in leaves(binding) if isinstance(leaf, Lookup))
