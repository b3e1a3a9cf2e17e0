"""Large frames are written in row groups: they come back as they were, in part as well, and share their first rows."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone import Artifact, BlobReader, FsspecArtifactStore, Materializer
from drystone.blobs import blob_key
from drystone.errors import BlobLostError, MaterializerError, NotFoundError
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract, MemoryArtifactStore
from drystone_data import (
    PandasFrameMaterializer,
    PandasSeriesMaterializer,
    PolarsFrameMaterializer,
    PolarsSeriesMaterializer,
    TableMaterializer,
)
from drystone_data.row_groups import height

if TYPE_CHECKING:  # the contract imports this module in a process that knows no services
    from services.elsewhere import Elsewhere

DAYS = pd.date_range("2026-01-01", periods=20, freq="D")


class PandasInGroups(PandasFrameMaterializer):
    cells = 8


class PandasSeriesInGroups(PandasSeriesMaterializer):
    cells = 8


class PolarsInGroups(PolarsFrameMaterializer):
    cells = 8


class PolarsSeriesInGroups(PolarsSeriesMaterializer):
    cells = 8


class TableInGroups(TableMaterializer):
    cells = 8


@pytest.fixture
def store(elsewhere: Elsewhere) -> Elsewhere:
    return elsewhere


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRYSTONE_CACHE_SIZE", "0")
    monkeypatch.setattr("drystone.blobs.WHOLE", 0)


def materializers(*classes: type[Materializer]) -> Materializers:
    return Materializers([(cls, "the tests") for cls in classes], allow_pickle=False)


# They come back as they were


def plain() -> Any:
    return pd.DataFrame({"i": np.arange(20), "s": [f"r{n % 3}" for n in range(20)], "f": np.linspace(0, 1, 20)})


def plain_put_together() -> Any:
    return pd.concat([plain().iloc[:7], plain().iloc[7:]])


def dated() -> Any:
    return plain().set_index(DAYS.rename("day"))


def categories() -> Any:
    made = pd.Categorical(["x", None, "y", "x"] * 5, categories=["z", "y", "x"], ordered=True)
    return pd.DataFrame({"c": made, "bins": pd.cut(range(20), 4), "days": pd.Categorical(DAYS)})


def odd() -> Any:
    return pd.DataFrame(
        {
            "bool": [True, False, None, True] * 5,
            "lists": [[n] * (n % 3) for n in range(20)],
            "vectors": [np.arange(float(n % 3)) for n in range(20)],
            "mixed": [1, "a", 2.5, None] * 5,
            "zoned": DAYS.tz_localize("Europe/Berlin"),
            "period": pd.period_range("2026", periods=20, freq="M"),
            "nullable": pd.array([1, None, 3, 4] * 5, dtype="Int64"),
            "arrow": pd.array([1, None, 3, 4] * 5, dtype=pd.ArrowDtype(pa.timestamp("s"))),
        }
    )


def two_levels() -> Any:
    labels = pd.MultiIndex.from_product([[3, 5, 7, 9], list("abcde")], names=["n", None])
    return pd.DataFrame(
        np.eye(20)[:, :3], index=labels, columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    )


def counted_down() -> Any:
    return pd.DataFrame({"a": range(20), "b": range(20)}, index=pd.RangeIndex(40, 0, -2, name="r"))


def no_columns() -> Any:
    return pd.DataFrame(index=range(20))


def repeated() -> Any:
    return pd.DataFrame(np.arange(60).reshape(20, 3), columns=["a", "b", "a"])


def equal_frames(one: Any, other: Any) -> None:
    pd.testing.assert_frame_equal(one, other, check_freq=True, check_column_type=True, check_flags=True)
    pd.testing.assert_index_equal(one.index, other.index, exact=True)
    assert type(one.index) is type(other.index)
    assert one.attrs == other.attrs


PANDAS = [plain, dated, categories, odd, two_levels, counted_down, no_columns, repeated]


class TestPandasInGroups(MaterializerContract):
    materializer = PandasInGroups
    libraries = ()

    def examples(self) -> Sequence[Callable[[], Any]]:
        return PANDAS

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [(plain, plain_put_together)]

    def equal(self, one: Any, other: Any) -> bool:
        equal_frames(one, other)
        return True

    def test_importing_it_is_light(self) -> None:
        """That of the plugin's own class is tested elsewhere; this module imports its library."""


def dated_series() -> Any:
    return dated()["f"]


class TestPandasSeriesInGroups(TestPandasInGroups):
    materializer = PandasSeriesInGroups

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [dated_series]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return []

    def equal(self, one: Any, other: Any) -> bool:
        pd.testing.assert_series_equal(one, other, check_freq=True)
        return True


def polars_frame() -> Any:
    return pl.DataFrame(
        {
            "i": pl.Series([1, None, 3, 4] * 5, dtype=pl.Int8),
            "s": [f"r{n}" for n in range(20)],
            "c": pl.Series([f"c{n % 7}" for n in range(20)], dtype=pl.Categorical),
            "e": pl.Series(["z", "y", None, "z"] * 5, dtype=pl.Enum(["y", "q", "z"])),
            "l": [[n] * (n % 3) for n in range(20)],
            "st": [{"a": n, "b": ["x"]} for n in range(20)],
            "t": pl.Series([datetime.datetime(2026, 1, 1)] * 20, dtype=pl.Datetime("us", "Europe/Berlin")),
            "n": pl.Series([None] * 20, dtype=pl.Null),
        }
    )


def polars_frame_in_chunks() -> Any:
    return pl.concat([polars_frame()[:3], polars_frame()[3:]], rechunk=False)


class TestPolarsInGroups(TestPandasInGroups):
    materializer = PolarsInGroups

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [polars_frame]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [(polars_frame, polars_frame_in_chunks)]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and one.schema == other.schema and one.equals(other)


def polars_series() -> Any:
    return pl.Series("x", [f"c{n % 7}" for n in range(20)], dtype=pl.Categorical)


class TestPolarsSeriesInGroups(TestPandasInGroups):
    materializer = PolarsSeriesInGroups

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [polars_series]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return []

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and one.dtype == other.dtype and one.equals(other, check_names=True)


def table() -> Any:
    return pa.table(
        {
            "i": pa.array([1, None, 3, 4] * 5, pa.int8()),
            "s": [f"r{n}" if n % 4 else None for n in range(20)],
            "d": pa.array([f"c{n % 7}" for n in range(20)]).dictionary_encode(),
            "b": [True, None, False, True] * 5,
            "l": [[n] * (n % 3) for n in range(20)],
            "st": [{"a": n, "b": "x"} for n in range(20)],
        }
    ).replace_schema_metadata({"source": "test"})


def table_in_chunks() -> Any:
    return pa.concat_tables([table().slice(0, 3), table().slice(3)])


def table_with_one_name_twice() -> Any:
    return pa.Table.from_arrays([pa.array(range(20)), pa.array(range(20, 40))], names=["a", "a"])


class TestTableInGroups(TestPandasInGroups):
    materializer = TableInGroups

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [table, table_with_one_name_twice]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [(table, table_in_chunks)]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and one.schema.equals(other.schema, check_metadata=True) and one.equals(other)


# In part, they are what their library makes of the whole


ROWS = st.one_of(
    st.none(),
    st.builds(
        slice,
        st.none() | st.integers(-25, 25),
        st.none() | st.integers(-25, 25),
        st.none() | st.integers(-4, 4).filter(bool),
    ),
    st.tuples(st.integers(0, 19), st.integers(0, 19), st.integers(1, 3)).map(lambda each: range(*each)),
    st.tuples(st.integers(0, 19), st.integers(0, 19)).map(lambda each: range(each[0], each[1], -1)),
)


def as_slice(rows: Any) -> Any:
    """What pandas takes for the positions."""
    return [*rows] if isinstance(rows, range) and rows.step < 0 else slice(rows.start, rows.stop, rows.step)


@given(st.sampled_from(PANDAS), st.sampled_from([PandasFrameMaterializer, PandasInGroups]), ROWS, st.data())
def test_a_part_of_a_pandas_frame_is_what_pandas_makes_of_the_whole(
    make: Any, cls: type[Materializer], rows: Any, data: Any
) -> None:
    frame, store, known = make(), MemoryArtifactStore(shelf="parts"), materializers(cls)
    some = st.lists(st.sampled_from([*dict.fromkeys(frame.columns)] or [None]), max_size=4 * bool(frame.columns.size))
    columns = data.draw(st.none() | some, label="columns")
    manifest, _ = known.save(frame, Artifact(), store)
    loaded = known.load(
        manifest, store, **{k: v for k, v in {"columns": columns, "rows": rows}.items() if v is not None}
    )
    expected = frame if columns is None else frame[columns]
    if isinstance(rows, range) and rows.step < 0:
        expected = expected.iloc[[*rows]]
        pd.testing.assert_frame_equal(loaded, expected, check_freq=False, check_index_type="equiv")
    else:
        expected = expected if rows is None else expected.iloc[rows if isinstance(rows, slice) else as_slice(rows)]
        equal_frames(loaded, expected)


@given(st.sampled_from([PolarsFrameMaterializer, PolarsInGroups]), ROWS, st.none() | st.lists(st.sampled_from("isce")))
def test_a_part_of_a_polars_frame_is_what_polars_makes_of_the_whole(
    cls: type[Materializer], rows: Any, columns: Any
) -> None:
    frame, store, known = polars_frame(), MemoryArtifactStore(shelf="parts"), materializers(cls)
    manifest, _ = known.save(frame, Artifact(), store)
    loaded = known.load(
        manifest, store, **{k: v for k, v in {"columns": columns, "rows": rows}.items() if v is not None}
    )
    expected = frame if columns is None else frame.select([*dict.fromkeys(columns)])
    places = range(20) if rows is None else range(20)[rows] if isinstance(rows, slice) else rows
    if columns != []:  # such a frame of polars has no rows
        assert loaded.equals(expected[[*places]] if len(places) else expected.clear())
    assert loaded.schema == expected.schema


@given(st.sampled_from([TableMaterializer, TableInGroups]), ROWS, st.none() | st.lists(st.sampled_from("isdbl")))
def test_a_part_of_a_table_is_what_arrow_makes_of_the_whole(cls: type[Materializer], rows: Any, columns: Any) -> None:
    whole, store, known = table(), MemoryArtifactStore(shelf="parts"), materializers(cls)
    manifest, _ = known.save(whole, Artifact(), store)
    loaded = known.load(
        manifest, store, **{k: v for k, v in {"columns": columns, "rows": rows}.items() if v is not None}
    )
    expected = whole if columns is None else whole.select(columns)
    places = range(20) if rows is None else range(20)[rows] if isinstance(rows, slice) else rows
    if columns != []:
        assert loaded.to_pylist() == expected.take(pa.array(places, pa.int64())).to_pylist()
    assert loaded.schema.equals(expected.schema, check_metadata=True)


@given(st.sampled_from([PandasSeriesInGroups, PolarsSeriesInGroups]), ROWS.filter(lambda rows: rows is not None))
def test_a_part_of_a_series_is_some_of_its_rows(cls: type[Materializer], rows: Any) -> None:
    value = dated_series() if cls is PandasSeriesInGroups else polars_series()
    store, known = MemoryArtifactStore(shelf="parts"), materializers(cls)
    manifest, _ = known.save(value, Artifact(), store)
    places = range(20)[rows] if isinstance(rows, slice) else rows
    assert [*known.load(manifest, store, rows=rows)] == [[*value][at] for at in places]


def test_what_is_not_there_is_told(store: Elsewhere) -> None:
    for make, cls in ((plain, PandasInGroups), (polars_frame, PolarsInGroups), (table, TableInGroups)):
        known = materializers(cls)
        manifest, _ = known.save(make(), Artifact(), store)
        with pytest.raises(NotFoundError, match=r"no column 'si'\. Did you mean .*no column 'x'\. Its columns: .*i, "):
            known.load(manifest, store, columns=["i", "si", "x"])
        with pytest.raises(MaterializerError, match=r"columns= takes a list of labels, as columns=\['i'\]"):
            known.load(manifest, store, columns="i")
        with pytest.raises(NotFoundError, match=r"There are 20 rows, and range\(10, 21\) leads beyond them"):
            known.load(manifest, store, rows=range(10, 21))
        with pytest.raises(MaterializerError, match=r"rows= takes a slice or a range.*5 is neither"):
            known.load(manifest, store, rows=5)
        with pytest.raises(MaterializerError, match=r"no loading by where= of .*It can be by columns=, rows="):
            known.load(manifest, store, where="x")
    manifest, _ = known.save([1], Artifact(), store)
    with pytest.raises(
        MaterializerError, match=r"no loading by rows= of what the materializer 'json' writes\. Load it"
    ):
        known.load(manifest, store, rows=slice(1))
    manifest, _ = known.save_parts([1, 2], Artifact(), store)
    with pytest.raises(MaterializerError, match=r"of a list that is stored member by member\. Load it whole"):
        known.load(manifest, store, rows=slice(1))


# What is transferred


MAKERS: Mapping[type[Materializer], Callable[[Any], Any]] = {
    PandasFrameMaterializer: pd.DataFrame,
    PolarsFrameMaterializer: pl.DataFrame,
    TableMaterializer: pa.table,
}


def measurements(rows: int, columns: int = 100) -> dict[str, Any]:
    generator = np.random.default_rng(7)
    return {f"c{at}": generator.random(rows) for at in range(columns)}


def of_kind(cls: type[Materializer], value: Any, name: str) -> Any:
    return value[name].to_numpy()


@pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
def test_one_of_100_columns_transfers_less_than_3_percent(cls: Any, store: Elsewhere) -> None:
    data, known = measurements(125_000), materializers(cls)
    manifest, _ = known.save(MAKERS[cls](data), Artifact(), store)
    assert manifest.size > 90_000_000
    from drystone.caches import blob_cache

    blob_cache().clear()
    store.moved["down"] = 0
    loaded = known.load(manifest, store, columns=["c37"])
    assert np.array_equal(loaded["c37"].to_numpy(), data["c37"])
    assert loaded.shape == (125_000, 1)
    assert store.moved["down"] < 0.03 * manifest.size
    store.moved["down"] = 0
    few = known.load(manifest, store, columns=["c3", "c2"], rows=slice(100, 200))
    assert np.array_equal(few["c2"].to_numpy(), data["c2"][100:200])
    assert store.moved["down"] < 0.03 * manifest.size
    whole = known.load(manifest, store)
    assert store.moved["down"] > 0.9 * manifest.size
    assert whole.shape == (125_000, 100)
    store.moved["down"] = 0
    known.load(manifest, store, columns=["c1"])
    assert store.moved["down"] == 0, "the whole is in the cache now"


@pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
def test_appended_rows_are_all_that_is_uploaded(cls: Any, store: Elsewhere) -> None:
    known, made, new = materializers(cls), MAKERS[cls], height(100, cls.cells)
    data = measurements(new + 4_000)
    before, _ = known.save(made({name: each[: new + 2_000] for name, each in data.items()}), Artifact(), store)
    store.moved["up"] = 0
    after, _ = known.save(made(data), Artifact(), store)
    assert store.moved["up"] < 100 * 8 * 4_000 * 1.3
    assert store.moved["up"] < 0.1 * after.size
    assert {blob.digest for blob in before.blobs} & {blob.digest for blob in after.blobs}
    assert known.load(after, store).shape == (new + 4_000, 100)
    assert known.load(before, store).shape == (new + 2_000, 100)


def test_a_frame_that_is_not_large_is_the_one_file_that_it_was(store: Elsewhere) -> None:
    for cls, make in MAKERS.items():
        manifest, _ = materializers(cls).save(make(measurements(1000)), Artifact(), store)
        assert {blob.path for blob in manifest.blobs} <= {"frame.parquet", "labels.parquet", "table.arrow"}


def test_row_groups_are_as_long_as_columns_are_few() -> None:
    assert [height(columns, 1 << 23) for columns in (0, 1, 100, 1 << 23, 1 << 30)] == [1 << 23, 1 << 23, 65_536, 1, 1]


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize("cls", [PandasInGroups, PolarsInGroups, TableInGroups])
def test_parts_are_read_range_by_range_where_there_is_no_cache(cls: Any, store: Elsewhere) -> None:
    make = {PandasInGroups: plain, PolarsInGroups: polars_frame, TableInGroups: table}[cls]
    known, value = materializers(cls), make()
    manifest, _ = known.save(value, Artifact(), store)
    loaded = known.load(manifest, store, columns=["s", "i"], rows=slice(3, 17, 2))
    assert [*loaded["s"].to_numpy()][:3] == [*value["s"].to_numpy()][3:9:2]
    assert [*loaded.columns] == ["s", "i"] if cls is not TableInGroups else loaded.column_names == ["s", "i"]


@pytest.mark.usefixtures("uncached")
def test_damage_in_a_part_of_a_row_group_is_noticed(store: Elsewhere) -> None:
    known = materializers(PandasInGroups)
    manifest, _ = known.save(plain(), Artifact(), store)
    blob = next(blob for blob in manifest.blobs if blob.path == "rows/00001.parquet")
    data = bytearray(store.read_range(blob_key(blob.digest), 0, None))
    at = data.index(b"\x02\x00\x00\x00\x00\x00\x00\x00")
    data[at] ^= 0xFF
    store.write(blob_key(blob.digest), bytes(data))
    with pytest.raises(OSError, match=r"CRC|checksum"):
        known.load(manifest, store, columns=["i"])
    store.delete(blob_key(blob.digest))
    with pytest.raises(BlobLostError, match="missing"):
        known.load(manifest, store, columns=["i"])


def test_rows_json_is_read_by_paths(tmp_path: Path) -> None:
    store, known = FsspecArtifactStore(url=f"file://{tmp_path}"), materializers(PandasInGroups)
    manifest, _ = known.save(plain(), Artifact(), store)
    reader = BlobReader(store, manifest)
    assert reader.read("rows.json") == b'{"rows": 20, "each": 2}'
    assert pd.read_parquet(reader.file("rows/00003.parquet")).iloc[0, 0] == 6
