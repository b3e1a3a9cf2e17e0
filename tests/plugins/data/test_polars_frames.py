from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from drystone import Artifact, FsspecArtifactStore
from drystone.errors import MaterializerError
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import PolarsFrameMaterializer, PolarsSeriesMaterializer

NOON = datetime.datetime(2026, 1, 1, 12)


def numbers() -> Any:
    return pl.DataFrame(
        {
            "i": pl.Series([1, None, 3], dtype=pl.Int8),
            "u": pl.Series([1, None, 3], dtype=pl.UInt64),
            "f": pl.Series([float("nan"), None, -0.0]),
            "b": [True, None, False],
            "d": pl.Series([decimal.Decimal("1.1"), None, None], dtype=pl.Decimal(9, 3)),
            "n": pl.Series([None] * 3, dtype=pl.Null),
        }
    )


def numbers_in_chunks() -> Any:
    return pl.concat([numbers()[:1], numbers()[1:]], rechunk=False)


def numbers_with_rubbish_below() -> Any:
    full = numbers().with_columns(pl.col("i").fill_null(99))
    return full.with_columns(pl.when(pl.col("u").is_null()).then(None).otherwise(pl.col("i")).alias("i"))


def numbers_known_to_be_sorted() -> Any:
    return numbers().with_columns(pl.col("n").set_sorted())


def texts() -> Any:
    categories = pl.Series(["z", "y", None], dtype=pl.Categorical)
    return pl.DataFrame({"s": ["a", None, ""], "b": [b"a", None, b""], "c": categories})


def texts_of_a_slice() -> Any:
    categories = pl.Series(["q", "z", "y", None], dtype=pl.Categorical)
    return pl.DataFrame({"s": ["q", "a", None, ""], "b": [b"q", b"a", None, b""], "c": categories})[1:]


def times() -> Any:
    return pl.DataFrame(
        {
            "date": [datetime.date(2026, 1, 1), None],
            "time": [datetime.time(1, 2, 3, 4), None],
            "ms": pl.Series([NOON, None], dtype=pl.Datetime("ms")),
            "zoned": pl.Series([NOON, None], dtype=pl.Datetime("us", "Europe/Berlin")),
            "delta": pl.Series([datetime.timedelta(1), None], dtype=pl.Duration("ns")),
        }
    )


def nested() -> Any:
    return pl.DataFrame(
        {
            "list": [[1, 2], None, []],
            "array": pl.Series([[1, 2], None, [3, None]], dtype=pl.Array(pl.Int16, 2)),
            "struct": [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}],
            "enum": pl.Series(["z", "y", None], dtype=pl.Enum(["y", "q", "z"])),
        }
    )


def nothing() -> Any:
    return pl.DataFrame()


def no_rows() -> Any:
    return pl.DataFrame(schema={"a": pl.Int8, "s": pl.String})


def many_rows() -> Any:
    return pl.DataFrame({"i": range(200_000), "s": [str(number % 7) for number in range(200_000)]})


def many_rows_sorted_back() -> Any:
    return many_rows().sample(fraction=1, shuffle=True, seed=1).sort("i")


class TestPolarsFrameMaterializer(MaterializerContract):
    materializer = PolarsFrameMaterializer
    libraries = ("numpy", "pyarrow")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [numbers, texts, times, nested, nothing, no_rows, many_rows]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [
            (numbers, numbers_in_chunks, numbers_with_rubbish_below, numbers_known_to_be_sorted),
            (texts, texts_of_a_slice),
            (many_rows, many_rows_sorted_back),
        ]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and one.schema == other.schema and one.equals(other)


def series() -> Any:
    return pl.Series("x", ["a", "b", None], dtype=pl.Categorical)


def nameless_series() -> Any:
    return pl.Series([1.5, None])


class TestPolarsSeriesMaterializer(MaterializerContract):
    materializer = PolarsSeriesMaterializer
    libraries = ("numpy", "pyarrow")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [series, nameless_series]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and one.dtype == other.dtype and one.equals(other, check_names=True)


def test_frame_of_python_objects_is_refused(tmp_path: Path) -> None:
    materializers = Materializers([(PolarsFrameMaterializer, "drystone-data")], allow_pickle=False)
    with pytest.raises(
        MaterializerError, match=r"polars cannot write this frame as parquet: .*this workspace forbids pickle"
    ):
        materializers.save(pl.DataFrame({"o": [object()]}), Artifact(), FsspecArtifactStore(url=f"file://{tmp_path}"))


def test_metadata_are_rows_and_types(tmp_path: Path) -> None:
    noted = PolarsFrameMaterializer().metadata(texts())
    assert noted == {"rows": 3, "columns": {"s": "String", "b": "Binary", "c": "Categorical"}}
