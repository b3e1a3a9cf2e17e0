"""Whole frames of pandas as tables of Arrow and back: columns, index and what else a frame carries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from drystone.errors import EncodingError
from drystone_data.pandas_columns import (
    Note,
    decode,
    encode,
    frequency,
    label_from_json,
    label_to_json,
    plain_index,
)

KEY = b"drystone.pandas"
"""The key of the notes in the metadata of a table."""


def frame_to_table(frame: Any, **extra: Any) -> Any:
    """A frame as a table; the labels of its columns only serve to name the table's.

    Args:
        frame: A `pandas.DataFrame`.
        extra: JSON values to be kept in the notes.

    Raises:
        EncodingError: Some value would not come back as it was.
    """
    import pyarrow

    columns = [encode(frame.iloc[:, at], f"The column {label!r}") for at, label in enumerate(frame.columns)]
    levels, index = _encode_index(frame.index)
    notes = {
        "columns": [note for _, note in columns],
        "index": index,
        "attrs": _checked_attrs(frame.attrs),
        "unique_labels": not frame.flags.allows_duplicate_labels,
        **extra,
    }
    arrays = [*(array for array, _ in columns), *levels]
    names = _unique([*map(str, frame.columns), *(str(name) for name in frame.index.names)][: len(arrays)])
    return pyarrow.table(arrays, names=list(names), metadata={KEY: json.dumps(notes, separators=(",", ":"))})


class Notes(NamedTuple):
    """What a table knows of the frame that it was.

    Attributes:
        noted: What `frame_to_table` has noted.
        rows: Which rows of the frame the table has; None for all.
    """

    noted: Note
    rows: range | None = None

    @classmethod
    def of(cls, schema: Any) -> Notes:
        """Those in the metadata of a schema."""
        return cls(json.loads(schema.metadata[KEY]))

    @property
    def width(self) -> int:
        """How many columns the frame has."""
        return len(self.noted["columns"])

    def height(self, stored: int) -> int:
        """How many rows the frame has, of whose table so many are stored: none, if it has no columns."""
        index = self.noted["index"]
        return len(range(*index["range"])) if index["kind"] == "range" else stored

    def names(self, schema: Any, columns: Sequence[int]) -> list[str]:
        """What the table calls some columns of the frame, and the levels of its index."""
        return [*(schema.names[at] for at in columns), *schema.names[self.width :]]

    def only(self, columns: Sequence[int], rows: range | None) -> Notes:
        """The notes of a table that has only those columns and rows."""
        return Notes({**self.noted, "columns": [self.noted["columns"][at] for at in columns]}, rows)


def table_to_frame(table: Any, known: Notes) -> Any:
    """The frame, with its columns counted instead of labelled."""
    import pandas

    notes, count = known.noted, known.width
    index = _decode_index(table.columns[count:], notes["index"], known.rows)
    decoded = [decode(column, note) for column, note in zip(table.columns, notes["columns"], strict=False)]
    series = {
        position: pandas.Series(values, index=index, dtype=values.dtype, copy=False)
        for position, values in enumerate(decoded)
    }
    frame = pandas.DataFrame(series, index=index, columns=pandas.RangeIndex(count), copy=True)
    frame.attrs = notes["attrs"]
    return frame.set_flags(allows_duplicate_labels=not notes["unique_labels"])


def _unique(names: Iterable[str]) -> Iterator[str]:
    """Names for the columns of a table, each once."""
    taken: set[str] = set()
    for position, name in enumerate(names):
        unique = name if name not in taken else f"{name}.{position}"
        taken.add(unique)
        yield unique


def _checked_attrs(attrs: dict[Any, Any]) -> dict[Any, Any]:
    try:
        if json.loads(json.dumps(attrs)) == attrs:
            return attrs
    except (TypeError, ValueError):
        pass
    raise EncodingError("The frame's attrs are more than JSON can keep.")


def _encode_index(index: Any) -> tuple[list[Any], Note]:
    import pandas

    names = [label_to_json(name) for name in index.names]
    if type(index) is pandas.RangeIndex:
        return [], {"kind": "range", "names": names, "range": [index.start, index.stop, index.step]}
    parts = [index] if index.nlevels == 1 else [index.get_level_values(level) for level in range(index.nlevels)]
    levels = [encode(part, "The index") for part in parts]
    kind = "multi" if isinstance(index, pandas.MultiIndex) else "flat"
    note = {"kind": kind, "names": names, "levels": [each for _, each in levels], "freq": frequency(index)}
    return [array for array, _ in levels], note


def _decode_index(columns: list[Any], note: Note, rows: range | None) -> Any:
    import pandas

    if note["kind"] == "range":
        whole = range(*note["range"])
        counted = whole if rows is None else _counted(whole, rows)
        return pandas.RangeIndex(counted, name=label_from_json(note["names"][0]))
    decoded = [decode(column, each) for column, each in zip(columns, note["levels"], strict=True)]
    parts = [plain_index(values, name) for values, name in zip(decoded, note["names"], strict=True)]
    if note["kind"] == "multi":
        return pandas.MultiIndex.from_arrays(parts, names=[part.name for part in parts])
    if note["freq"] is not None:
        offset = pandas.tseries.frequencies.to_offset(note["freq"])
        parts[0].freq = offset if rows is None else offset * rows.step
    return parts[0]


def _counted(whole: range, rows: range) -> range:
    """What stands at some positions of a range; a slice of it could not end before its first."""
    start, stop = (whole.start + at * whole.step for at in (rows.start, rows.stop))
    return range(start, stop, whole.step * rows.step)
