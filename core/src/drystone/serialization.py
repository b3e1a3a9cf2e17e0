"""The one converter between Drystone's records and JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_union_passthrough

T = TypeVar("T")

TRANSIENT = "transient"
"""The metadata key of fields that belong to one process and are never written."""

SPARSE = "sparse"
"""The metadata key of fields that are written only where they are not the default."""

converter = cattrs.Converter(unstruct_collection_overrides={tuple: list}, detailed_validation=False)

to_text: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
"""Compact JSON text, the same for the same data; plain ASCII, so that any Python string survives any encoding."""


def unstructure(record: Any) -> Any:
    """A record as plain JSON values, without its transient fields."""
    return converter.unstructure(record)


def structure(data: Any, cls: type[T]) -> T:
    """The record of a class that `unstructure` turned into this data."""
    return converter.structure(data, cls)


def to_time(moment: datetime.datetime) -> str:
    """A moment as text; texts of moments in UTC sort as the moments do."""
    return moment.isoformat(timespec="microseconds")


def _left_out(cls: type) -> dict[str, Any]:
    rules = {TRANSIENT: override(omit=True), SPARSE: override(omit_if_default=True)}
    return {field.name: rule for field in attrs.fields(cls) for key, rule in rules.items() if key in field.metadata}


@converter.register_unstructure_hook_factory(attrs.has)
def _unstructure_attrs(cls: type) -> Callable[[Any], dict[str, Any]]:
    return make_dict_unstructure_fn(cls, converter, **_left_out(cls))


@converter.register_structure_hook_factory(attrs.has)
def _structure_attrs(cls: type) -> Callable[[Any, Any], Any]:
    return make_dict_structure_fn(cls, converter, **_left_out(cls))


configure_union_passthrough(str | int | float | bool | None, converter)
converter.register_unstructure_hook(datetime.datetime, to_time)
converter.register_structure_hook(datetime.datetime, lambda text, _: datetime.datetime.fromisoformat(text))
