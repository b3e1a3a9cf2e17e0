from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from drystone import Artifact
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import TableMaterializer
from drystone_local import LocalArtifactStore


def flat() -> Any:
    return pa.table(
        {
            "i": pa.array([1, None, 3], pa.int8()),
            "f": [1.5, None, float("nan")],
            "b": [True, None, False],
            "s": ["x", None, ""],
            "large": pa.array(["x", None, ""], pa.large_string()),
            "bytes": [b"x", None, b""],
            "s time": pa.array([1, None, 3], pa.timestamp("s")),
            "decimal": pa.array([1, None, 3]).cast(pa.decimal128(22, 2)),
            "dictionary": pa.array(["x", None, "y"]).dictionary_encode(),
            "numbers by dictionary": pa.array([7, None, 5]).dictionary_encode(),
            "nothing": pa.nulls(3),
        }
    ).replace_schema_metadata({"source": "test"})


def flat_three_times() -> Any:
    return pa.concat_tables([flat(), flat(), flat()])


def flat_of_a_slice() -> Any:
    return flat_three_times().slice(3, 3)


def flat_in_chunks() -> Any:
    return pa.concat_tables([flat().slice(0, 1), flat().slice(1, 2)])


def flat_of_a_filter() -> Any:
    return flat_three_times().filter(pa.array([False] * 6 + [True] * 3))


def flat_with_rubbish_below() -> Any:
    below = pa.Array.from_buffers(pa.int8(), 3, [pa.py_buffer(bytes([0b11111101])), pa.py_buffer(bytes([1, 99, 3, 7]))])
    return flat().set_column(0, "i", below)


def nested() -> Any:
    return pa.table(
        {
            "list": [[1], None, [2, None]],
            "large list": pa.array([["x"], None, []], pa.large_list(pa.string())),
            "struct": [{"a": 1, "b": "x"}, None, {"a": None, "b": None}],
            "deep": [[{"a": [1]}], None, [None, {"a": None}]],
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
            "pairs": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
            "view": pa.array(["x", None, "a text of more than twelve bytes"], pa.string_view()),
        }
    )


def nested_of_a_slice() -> Any:
    return pa.concat_tables([nested(), nested()]).slice(3, 3)


def nested_with_rubbish_below() -> Any:
    child = pa.array([1, 99, None])
    hidden = pa.StructArray.from_arrays(
        [child, pa.array(["x", "rubbish", None])], ["a", "b"], mask=pa.array([False, True, False])
    )
    return nested().set_column(2, "struct", hidden)


def no_rows() -> Any:
    return flat().slice(0, 0)


def no_columns() -> Any:
    return pa.table({})


def many_rows() -> Any:
    return pa.table({"i": pa.array(range(300_000)), "s": pa.array([str(number % 7) for number in range(300_000)])})


class TestTableMaterializer(MaterializerContract):
    materializer = TableMaterializer
    libraries = ("numpy", "pandas")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [flat, nested, no_rows, no_columns, many_rows]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [
            (flat, flat_of_a_slice, flat_in_chunks, flat_of_a_filter, flat_with_rubbish_below),
            (nested, nested_of_a_slice, nested_with_rubbish_below),
        ]

    def equal(self, one: Any, other: Any) -> bool:
        return one.schema.equals(other.schema, check_metadata=True) and repr(one.to_pydict()) == repr(other.to_pydict())


def test_loaded_table_is_mapped(tmp_path: Path) -> None:
    store = LocalArtifactStore(str(tmp_path))
    materializers = Materializers([(TableMaterializer, "drystone-data")], allow_pickle=False)
    manifest, noted = materializers.save(many_rows(), Artifact(), store)
    before = pa.total_allocated_bytes()
    loaded = materializers.load(manifest, store)
    assert loaded.nbytes > 2_000_000
    assert pa.total_allocated_bytes() - before < 10_000
    assert noted == {"rows": 300_000, "columns": {"i": "int64", "s": "string"}}
