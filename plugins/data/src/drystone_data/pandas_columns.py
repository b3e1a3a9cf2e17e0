"""Columns of pandas as columns of Arrow and back, exactly: the type and every value, or a refusal.

Arrow alone would turn objects into what they look like, categories into strings and seconds into milliseconds. A column
is therefore encoded with a note of what it was, and decoded by that note.
"""

from __future__ import annotations

import base64
import decimal
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from drystone.errors import EncodingError

if TYPE_CHECKING:
    import numpy

Note = dict[str, Any]
"""What a column was: JSON values."""


def encode(column: Any, label: str) -> tuple[Any, Note]:
    """A series or index as an array of Arrow, and the note that `decode` needs.

    Args:
        column: The series or index.
        label: Names the column in messages.

    Raises:
        EncodingError: Some value would not come back as it was.
    """
    import numpy
    import pyarrow

    values = column.to_numpy() if isinstance(column.dtype, numpy.dtype) else column.array
    try:
        encoded, note = _encode(values)
        if type(encoded) is pyarrow.ChunkedArray:
            encoded = encoded.combine_chunks()
        empty = decode(pyarrow.chunked_array([encoded[:0]], type=encoded.type), note)
    except (pyarrow.ArrowException, TypeError, ValueError, NotImplementedError, OverflowError) as exc:
        # pyarrow raises NotImplementedError for types it has no form for
        raise EncodingError(f"{label} of type {values.dtype} has no exact form in Arrow: {exc}.") from exc
    if empty.dtype != values.dtype:
        raise EncodingError(f"{label} would come back as {empty.dtype} instead of {values.dtype}.")
    return encoded, note


def decode(column: Any, note: Note) -> Any:
    """The array of pandas or numpy that was encoded as this chunked array of Arrow."""
    return _DECODERS[note["kind"]](column, note)


def _encode(values: Any) -> tuple[Any, Note]:
    import pandas
    import pyarrow

    dtype = values.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        return _encode_categories(values)
    if isinstance(dtype, pandas.DatetimeTZDtype):
        plain = values.tz_convert("UTC").tz_localize(None).to_numpy()
        note = {"kind": "zoned", "dtype": str(dtype)}
        return pyarrow.array(plain).cast(pyarrow.timestamp(dtype.unit, "UTC")), note
    if isinstance(dtype, pandas.StringDtype):
        missing = "NA" if dtype.na_value is pandas.NA else "nan"
        return pyarrow.array(values), {"kind": "string", "storage": dtype.storage, "missing": missing}
    if isinstance(dtype, pandas.ArrowDtype):
        return pyarrow.array(values), {"kind": "arrow", "type": _to_text(pyarrow.nulls(0, dtype.pyarrow_dtype))}
    if isinstance(dtype, pandas.api.extensions.ExtensionDtype):
        return _without_nan(pyarrow.array(values)), {"kind": "extension", "dtype": str(dtype)}
    if dtype.hasobject:
        return _encode_objects(values)
    return pyarrow.array(values, from_pandas=False), {"kind": "numpy", "dtype": dtype.str}


def _without_nan(encoded: Any) -> Any:
    """Nullable floats may hold both NaN and NA, which pandas confuses when it reads them."""
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_floating(encoded.type) and pyarrow.compute.any(pyarrow.compute.is_nan(encoded)).as_py():
        raise ValueError("it holds NaN as well as NA")
    return encoded


def _encode_categories(values: Any) -> tuple[Any, Note]:
    """The values themselves, readable by everyone; the categories stand in the note, in their order."""
    import pyarrow

    categories, inner = encode(values.categories, "The categories")
    codes = pyarrow.array(values.codes, mask=values.codes < 0)
    note = {
        "kind": "categorical",
        "categories": _to_text(categories),
        "of": inner,
        "ordered": values.ordered,
        "name": label_to_json(values.categories.name),
        "freq": frequency(values.categories),
        "coded": isinstance(categories.type, pyarrow.ExtensionType),  # intervals and periods: Arrow cannot look them up
    }
    return codes if note["coded"] else categories.take(codes), note


def _encode_objects(values: numpy.ndarray[Any, Any]) -> tuple[Any, Note]:
    """Python objects, as the first form that gives every one of them back."""
    import pyarrow

    for encoded, note in _object_forms(values):
        if len(values) == 0 or all(map(_is_same, decode(pyarrow.chunked_array([encoded]), note), values)):
            return encoded, note
    raise ValueError("it holds Python objects of a kind that neither Arrow nor JSON can give back")


def _object_forms(values: numpy.ndarray[Any, Any]) -> Iterator[tuple[Any, Note]]:
    import numpy
    import pyarrow

    kinds = {item.dtype.str if type(item) is numpy.ndarray else "" for item in values if item is not None}
    if len(kinds) == 1 and kinds != {""}:
        yield pyarrow.array(values, from_pandas=False), {"kind": "vectors", "dtype": kinds.pop()}
        return
    for missing in ("None", "nan"):
        try:
            encoded = pyarrow.array(values, from_pandas=missing == "nan")
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            continue
        yield encoded, {"kind": "objects", "missing": missing}
    try:
        texts = [json.dumps(item, ensure_ascii=False) for item in values]
    except (TypeError, ValueError, RecursionError):
        return
    yield pyarrow.array(texts, pyarrow.large_string()), {"kind": "json"}


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, all the way down."""
    if type(one) is not type(other):
        return False
    if one is other:
        return True
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(_is_same(one[key], other[key]) for key in one)
    if hasattr(one, "dtype"):
        return bool(one.dtype == other.dtype and one.tobytes() == other.tobytes() and one.shape == other.shape)
    if type(one) in _PLAIN:
        return bool(one == other) or (one != one and other != other)
    return bool(one == other) and repr(one) == repr(other)


_PLAIN = (str, int, float, bool, bytes, decimal.Decimal)
"""Types whose equal values nobody needs to tell apart; of others also the `repr` must agree, such as the time zone."""


def _decode_numpy(column: Any, note: Note) -> Any:
    import numpy

    return column.to_numpy().astype(numpy.dtype(note["dtype"]), copy=False)


def _decode_extension(column: Any, note: Note) -> Any:
    """What pandas makes of Arrow itself, once it has the exact type."""
    import numpy
    import pandas

    if note["kind"] == "arrow":
        kind = _from_text(note["type"]).type
        return pandas.ArrowDtype(kind).__from_arrow__(column.cast(kind))
    if note["kind"] == "string":
        missing = pandas.NA if note["missing"] == "NA" else numpy.nan
        return pandas.StringDtype(note["storage"], na_value=missing).__from_arrow__(column)
    return pandas.api.types.pandas_dtype(note["dtype"]).__from_arrow__(column)


def _decode_categories(column: Any, note: Note) -> Any:
    import numpy
    import pandas
    import pyarrow

    index = plain_index(decode(_from_text(note["categories"]), note["of"]), note["name"])
    if note["freq"] is not None:
        index.freq = note["freq"]
    dtype = pandas.CategoricalDtype(index, ordered=note["ordered"])
    if note["coded"]:
        return pandas.Categorical.from_codes(column.fill_null(-1).to_numpy(), dtype=dtype)
    found = column.combine_chunks().dictionary_encode()
    if isinstance(found, pyarrow.ChunkedArray):
        found = found.unify_dictionaries().combine_chunks()
    known = plain_index(decode(pyarrow.chunked_array([found.dictionary]), note["of"]), None)
    positions = numpy.append(index.get_indexer(known), -1)
    codes = positions[found.indices.fill_null(len(known)).to_numpy()]
    return pandas.Categorical.from_codes(codes, dtype=dtype)


def _decode_objects(column: Any, note: Note) -> Any:
    import numpy

    if note["missing"] == "None":
        return object_array(column.to_pylist())
    return object_array([numpy.nan if item is None else item for item in column.to_pylist()])


def _decode_vectors(column: Any, note: Note) -> Any:
    import numpy

    dtype = numpy.dtype(note["dtype"])
    cells = (item.values for chunk in column.chunks for item in chunk)
    return object_array([None if cell is None else numpy.array(cell.to_numpy(False), dtype) for cell in cells])


def object_array(items: Sequence[Any]) -> Any:
    """A one-dimensional array of these very objects, whatever sequences are among them."""
    import numpy

    made = numpy.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        made[position] = item
    return made


_DECODERS: dict[str, Callable[[Any, Note], Any]] = {
    "numpy": _decode_numpy,
    "zoned": _decode_extension,
    "string": _decode_extension,
    "arrow": _decode_extension,
    "extension": _decode_extension,
    "categorical": _decode_categories,
    "objects": _decode_objects,
    "vectors": _decode_vectors,
    "json": lambda column, note: object_array([json.loads(text) for text in column.to_pylist()]),
}


def label_to_json(label: Any) -> Any:
    """The name of an index or series.

    Raises:
        EncodingError: It is neither None, a string, a number nor a tuple of these.
    """
    if label is None or type(label) in (str, int, bool, float):
        return label
    if type(label) is tuple:
        return {"tuple": [label_to_json(part) for part in label]}
    raise EncodingError(f"The name {label!r} is neither a string, a number nor a tuple of these.")


def label_from_json(data: Any) -> Any:
    """The name that `label_to_json` wrote."""
    return tuple(label_from_json(part) for part in data["tuple"]) if isinstance(data, dict) else data


def _to_text(array: Any) -> str:
    """An array of Arrow, to be kept in a note."""
    import pyarrow

    table = pyarrow.table({"array": array})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return base64.b64encode(sink.getvalue().to_pybytes()).decode()


def _from_text(text: str) -> Any:
    """The chunked array that `_to_text` wrote."""
    import pyarrow

    return pyarrow.ipc.open_stream(base64.b64decode(text)).read_all().column(0)


def plain_index(values: Any, name: Any) -> Any:
    """An index of exactly these values; its name as `label_to_json` wrote it."""
    import pandas

    return pandas.Index(values, dtype=values.dtype, name=label_from_json(name), copy=False)


def frequency(index: Any) -> str | None:
    """The frequency that an index of times keeps beside its values.

    Raises:
        EncodingError: It has no text from which pandas could make it again.
    """
    import pandas

    found = getattr(index, "freq", None)
    if found is None or isinstance(index, pandas.PeriodIndex):
        return None
    text = str(index.freqstr)
    try:
        if pandas.tseries.frequencies.to_offset(text) == found:
            return text
    except ValueError:
        pass
    raise EncodingError(f"The frequency {found!r} of the index cannot be written as text.")
