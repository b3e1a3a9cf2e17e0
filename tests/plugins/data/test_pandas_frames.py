from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drystone import Artifact, ArtifactStore, FsspecArtifactStore
from drystone.errors import MaterializerError
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import PandasFrameMaterializer, PandasSeriesMaterializer

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
DAYS = pd.date_range("2026-01-01", periods=3, freq="D")


def numbers() -> Any:
    return pd.DataFrame({"i": np.arange(3, dtype="i1"), "u": np.arange(3, dtype="u8"), "f": [1.5, np.nan, -0.0]})


def numbers_put_together() -> Any:
    return pd.concat([numbers().iloc[:1], numbers().iloc[1:]])[["i", "u", "f"]]


def half_floats_and_booleans() -> Any:
    return pd.DataFrame({"f": np.array([1, 2, 3], "f2"), "b": [True, False, True]})


def texts() -> Any:
    return pd.DataFrame({"s": ["x", None, "ü"]})


def texts_put_together() -> Any:
    return pd.concat([texts().iloc[:2], texts().iloc[2:]])


def texts_of_a_filter() -> Any:
    return pd.concat([texts(), texts()], ignore_index=True)[lambda frame: frame.index < 3].reset_index(drop=True)


def every_kind_of_text() -> Any:
    return pd.DataFrame(
        {
            "python": pd.array(["x", None, "y"], dtype=pd.StringDtype("python")),
            "arrow": pd.array(["x", None, "y"], dtype=pd.StringDtype("pyarrow")),
            "objects": pd.Series(["x", None, "y"], dtype=object),
            "objects with nan": pd.Series(["x", np.nan, "y"], dtype=object),
            "objects with both": pd.Series(["x", np.nan, None], dtype=object),
        }
    )


def times() -> Any:
    return pd.DataFrame(
        {
            "ns": DAYS.as_unit("ns"),
            "s": DAYS.as_unit("s"),
            "missing": [DAYS[0], pd.NaT, DAYS[2]],
            "zoned": DAYS.tz_localize("Europe/Berlin"),
            "offset": DAYS.tz_localize(datetime.timezone(datetime.timedelta(hours=2))),
            "delta": pd.to_timedelta([1, 2, 3], unit="s").as_unit("s"),
            "period": pd.period_range("2026", periods=3, freq="M"),
            "interval": pd.interval_range(0, 3),
        }
    )


def categories() -> Any:
    return pd.DataFrame(
        {
            "ordered": pd.Categorical(["x", "y", "x"], categories=["z", "y", "x"], ordered=True),
            "missing": pd.Categorical(["x", None, "x"], categories=["z", "x"]),
            "nothing": pd.Categorical([None] * 3, categories=["b", "a"]),
            "numbers": pd.Categorical([3, 1, 3], categories=[5, 3, 1]),
            "days": pd.Categorical(DAYS),
            "bins": pd.cut([1, 2, 3], [0, 1, 2, 3]),
            "objects": pd.Categorical(np.array(["x", "y", "x"], dtype=object)),
        }
    )


def categories_put_together() -> Any:
    return pd.concat([categories().iloc[:2], categories().iloc[2:]])


def nullable() -> Any:
    return pd.DataFrame(
        {
            "i": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "f": pd.array([1.5, None, 3], dtype="Float32"),
            "arrow": pd.array([1, None, 3], dtype=pd.ArrowDtype(pa.timestamp("s"))),
            "lists": pd.array([[1], None, []], dtype=pd.ArrowDtype(pa.list_(pa.int32()))),
        }
    )


def nullable_with_rubbish_below() -> Any:
    made = nullable()
    made["i"] = pd.arrays.IntegerArray(np.array([1, 99, 3]), np.array([False, True, False]))
    return made


GIVES_ZONES = int(pa.__version__.partition(".")[0]) >= 25
"""Whether times come back with zones of zoneinfo; where they would not, such a column is refused."""


def objects() -> Any:
    return pd.DataFrame(
        {
            "integers": pd.Series([1, 2, 3], dtype=object),
            "booleans": pd.Series([True, None, False], dtype=object),
            "bytes": [b"x", None, b""],
            "dates": [datetime.date(2026, 1, 1), None, datetime.date(2026, 1, 2)],
            **({"moments": pd.Series([NOON, None, NOON.replace(hour=13)], dtype=object)} if GIVES_ZONES else {}),
            "times": [datetime.time(1, 2, 3)] * 3,
            "decimals": [decimal.Decimal("1.10"), decimal.Decimal("2.30"), None],
            "lists": [[1], [2, 3], []],
            "dicts": [{"a": 1}, {"b": [1, "x", None]}, None],
            "mixed": [1, "a", 2.5],
            "vectors": [np.arange(3.0), None, np.array([np.nan])],
        }
    )


def odd_labels() -> Any:
    labels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["p", None])
    return pd.DataFrame(np.eye(3), index=labels, columns=pd.Index(["x", 1, None], dtype=object, name=("q", 0)))


def repeated_labels() -> Any:
    return pd.DataFrame(np.eye(3), columns=["a", "a", "a.1"], index=["k", "k", "l"])


def days_both_ways() -> Any:
    return pd.DataFrame(np.eye(3), columns=DAYS, index=DAYS)


def counted_labels() -> Any:
    return pd.DataFrame(np.eye(3), index=pd.RangeIndex(9, 3, -2, name="r"))


def categories_as_index() -> Any:
    return pd.DataFrame({"a": [1, 2, 3]}, index=pd.CategoricalIndex(list("aba"), name="a"))


def nothing() -> Any:
    return pd.DataFrame()


def no_rows() -> Any:
    return pd.DataFrame(
        {"a": np.array([], "i1"), "b": pd.Series([], dtype=object), "c": pd.Series([], dtype="category")}
    )


def no_columns() -> Any:
    return pd.DataFrame(index=range(3))


def attributes() -> Any:
    made = pd.DataFrame({"a": [1, 2]}).set_flags(allows_duplicate_labels=False)
    made.attrs["source"] = {"url": "x"}
    return made


def many_rows() -> Any:
    generator = np.random.default_rng(0)
    return pd.DataFrame({"f": generator.random(200_000), "s": generator.choice(["x", "y"], 200_000)})


def equal_indices(one: Any, other: Any) -> bool:
    pd.testing.assert_index_equal(one, other, exact=True)
    return type(one) is type(other) and getattr(one, "freq", None) == getattr(other, "freq", None)


class TestPandasFrameMaterializer(MaterializerContract):
    materializer = PandasFrameMaterializer
    libraries = ("pyarrow", "numpy")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [
            numbers,
            half_floats_and_booleans,
            texts,
            every_kind_of_text,
            times,
            categories,
            nullable,
            objects,
            odd_labels,
            repeated_labels,
            days_both_ways,
            counted_labels,
            categories_as_index,
            nothing,
            no_rows,
            no_columns,
            attributes,
            many_rows,
        ]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [
            (numbers, numbers_put_together),
            (texts, texts_put_together, texts_of_a_filter),
            (categories, categories_put_together),
            (nullable, nullable_with_rubbish_below),
        ]

    def equal(self, one: Any, other: Any) -> bool:
        pd.testing.assert_frame_equal(one, other, check_freq=True, check_column_type=True, check_flags=True)
        return (
            equal_indices(one.index, other.index)
            and equal_indices(one.columns, other.columns)
            and one.attrs == other.attrs
        )


def series() -> Any:
    return pd.Series([1, 2, 3], name="x", index=DAYS)


def nameless_series() -> Any:
    return pd.Series(["a", None])


def series_with_a_tuple_for_a_name() -> Any:
    return pd.Series(pd.Categorical(["a", "b"]), name=("a", 1))


def empty_series() -> Any:
    return pd.Series([], dtype=float)


class TestPandasSeriesMaterializer(MaterializerContract):
    materializer = PandasSeriesMaterializer
    libraries = ("pyarrow", "numpy")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [series, nameless_series, series_with_a_tuple_for_a_name, empty_series]

    def equal(self, one: Any, other: Any) -> bool:
        pd.testing.assert_series_equal(one, other, check_freq=True)
        return equal_indices(one.index, other.index)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FsspecArtifactStore(url=f"file://{tmp_path}")


@pytest.fixture
def materializers() -> Materializers:
    offered = [(PandasFrameMaterializer, "drystone-data"), (PandasSeriesMaterializer, "drystone-data")]
    return Materializers(offered, allow_pickle=False)


def test_other_tools_read_the_file(tmp_path: Path, store: ArtifactStore, materializers: Materializers) -> None:
    manifest, _ = materializers.save(categories()[["ordered", "numbers"]], Artifact(), store)
    frame = next(blob for blob in manifest.blobs if blob.path == "frame.parquet")
    store.download(f"blobs/{frame.digest[:2]}/{frame.digest}", tmp_path / "frame.parquet")
    assert pq.read_table(tmp_path / "frame.parquet").to_pydict() == {"ordered": ["x", "y", "x"], "numbers": [3, 1, 3]}


def test_loaded_frame_can_be_changed(store: ArtifactStore, materializers: Materializers) -> None:
    manifest, _ = materializers.save(numbers(), Artifact(), store)
    loaded = materializers.load(manifest, store)
    loaded.loc[0, "f"] = 9
    loaded["i"] += 1
    assert materializers.load(manifest, store)["f"].iloc[0] == 1.5


def test_metadata_are_rows_and_types(store: ArtifactStore, materializers: Materializers) -> None:
    assert materializers.save(numbers(), Artifact(), store)[1] == {
        "rows": 3,
        "columns": {"i": "int8", "u": "uint64", "f": "float64"},
    }
    assert materializers.save(series(), Artifact(), store)[1] == {"rows": 3, "name": "x", "dtype": "int64"}


class GeoFrame(pd.DataFrame):
    """A frame with a meaning of its own."""

    @property
    def _constructor(self) -> Any:
        return GeoFrame


class Opaque:
    """What nothing knows how to write."""


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (GeoFrame({"a": [1]}), "GeoFrame is more than a pandas frame."),
        (pd.DataFrame({"a": [1j]}), "The column 'a' of type complex128 has no exact form in Arrow: "),
        (
            pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
            "The column 'a' of type Sparse[int64, 0] has no exact form",
        ),
        (
            pd.DataFrame({"a": [Opaque()]}),
            "The column 'a' of type object has no exact form in Arrow: it holds Python objects of a kind that neither "
            "Arrow nor JSON can give back.",
        ),
        (
            pd.DataFrame({"a": pd.arrays.FloatingArray(np.array([1, np.nan]), np.array([False, False]))}),
            "it holds NaN as well as NA.",
        ),
        (pd.Series([1], name=DAYS[0]), "The name Timestamp('2026-01-01 00:00:00') is neither a string, a number nor a"),
    ],
)
def test_frame_that_would_come_back_as_less_is_refused(
    value: Any, reason: str, store: ArtifactStore, materializers: Materializers
) -> None:
    with pytest.raises(MaterializerError) as caught:
        materializers.save(value, Artifact(), store)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(
        "Pickle could, but this workspace forbids pickle. Ways out: return plain data; install a plugin for the type; "
        "write a materializer (hook drystone_materializers); or declare the output Artifact(allow_pickle=True)."
    )


def test_refused_frame_is_pickled_where_that_is_allowed(store: ArtifactStore) -> None:
    lenient = Materializers([(PandasFrameMaterializer, "drystone-data")], allow_pickle=True)
    value = pd.DataFrame({"a": [1j]})
    manifest, _ = lenient.save(value, Artifact(), store)
    assert manifest.materializer == "pickle"
    pd.testing.assert_frame_equal(lenient.load(manifest, store), value)
