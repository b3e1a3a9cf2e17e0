"""The workspace, and its records as JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from drystone import Workspace

COMPUTED = {
    "ArtifactVersion": ("digest", "size", "type", "materializer"),
    "StepRun": ("reason", "seconds"),
    "Run": ("seconds",),
}
"""Properties that belong to a record, though they are not among its fields."""


def workspace() -> Workspace:
    """The workspace that the working directory belongs to. Core is imported here: help needs none of it."""
    from drystone import Workspace

    return Workspace.current()


def plain(value: Any) -> Any:
    """A record, or what stands in one, as JSON values."""
    if attrs.has(type(value)):
        return _record(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _record(record: Any) -> dict[str, Any]:
    fields = {
        field.name: plain(getattr(record, field.name))
        for field in attrs.fields(type(record))
        if not field.metadata.get("transient")
    }
    return fields | {name: getattr(record, name) for name in COMPUTED.get(type(record).__name__, ())}


def to_json(records: Iterable[Any]) -> str:
    """An array of records."""
    return json.dumps([plain(record) for record in records], indent=2, ensure_ascii=False)
