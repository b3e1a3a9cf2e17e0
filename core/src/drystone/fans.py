"""Fan-out: which arguments of a map vary, and from which places of its lists each element takes its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import attrs

from drystone.errors import PipelineDefinitionError

T = TypeVar("T")

ZIP, PRODUCT = "zip", "product"
"""How the lists of a map vary: together, place by place, or each against each."""


@attrs.frozen
class Unmapped:
    """An argument of a map that every element is given as a whole."""

    value: Any


@attrs.frozen
class Mapped:
    """An argument of a map that each element takes one member of."""

    value: Any


def unmapped(value: T) -> T:
    """Pass a value as a whole to every element of a map: `scale.map(xs, factor=unmapped(2))`."""
    return cast(T, Unmapped(value))


def marked(argument: Any) -> Any:
    """An argument of a map as what it is: everything varies that is not said to be unmapped."""
    return argument if isinstance(argument, Unmapped) else Mapped(argument)


def split(label: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a map that vary, and those that do not.

    Raises:
        PipelineDefinitionError: None varies.
    """
    lists = {name: each.value for name, each in arguments.items() if isinstance(each, Mapped)}
    others = {name: each for name, each in arguments.items() if not isinstance(each, Mapped)}
    if not lists:
        known = ", ".join(arguments) or "none"
        raise PipelineDefinitionError(
            f"{label} is given nothing to map over. Give it a list for at least one of its parameters: {known}."
        )
    return lists, {name: each.value if isinstance(each, Unmapped) else each for name, each in others.items()}


def plain_list(label: str, name: str, value: Any) -> list[Any]:
    """The members of a plain argument that a map varies.

    Raises:
        PipelineDefinitionError: It has none, or none in an order.
    """
    if isinstance(value, list | tuple | range):
        return list(value)
    kind = type(value).__name__
    instead = f"pass {name}=list(…)" if hasattr(value, "__iter__") and not isinstance(value, str) else "pass a list"
    raise PipelineDefinitionError(
        f"{label} cannot map over {name!r}, which is of type {kind}: {instead}, or {name}=unmapped(…) to give every "
        "element the whole."
    )


def mismatch(fan: str, lengths: Mapping[str, int]) -> str | None:
    """Why lists of these lengths cannot vary together, or None if they can."""
    if fan == PRODUCT or len(set(lengths.values())) == 1:
        return None
    listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
    return f"maps over lists of different lengths: {listed}. For every combination of their members use product."


def count(fan: str, lengths: Mapping[str, int]) -> int:
    """How many elements a map over lists of these lengths has."""
    return math.prod(lengths.values()) if fan == PRODUCT else min(lengths.values())


def places(fan: str, lengths: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """For each element, the place in each list that it takes its argument from; of a product the last varies first."""
    ranges = map(range, lengths.values())
    combined = itertools.product(*ranges) if fan == PRODUCT else zip(*ranges, strict=True)
    return (dict(zip(lengths, each, strict=True)) for each in combined)


def element_name(step: str, index: int) -> str:
    """The address of one element of a map, as `sq[3]`."""
    return f"{step}[{index}]"


def element_address(address: str) -> tuple[str, int] | None:
    """The map and the index that the address of an element names; None for any other name of a step."""
    step, bracket, index = address.removesuffix("]").rpartition("[")
    return (step, int(index)) if bracket and index.isdecimal() and address.endswith("]") else None
