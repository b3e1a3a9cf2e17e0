from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drystone import Artifact, ArtifactStore, FsspecArtifactStore
from drystone.errors import MaterializerError
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import ArrayMaterializer


def numbers() -> Any:
    return np.arange(12.0).reshape(3, 4)


def numbers_in_fortran_order() -> Any:
    return np.asfortranarray(numbers())


def numbers_seen_through_a_stride() -> Any:
    return np.repeat(numbers(), 2, axis=1)[:, ::2]


def large() -> Any:
    return np.arange(3 * 1000 * 1000, dtype="i4").reshape(3, 1000, 1000)


def large_transposed() -> Any:
    return np.ascontiguousarray(large().T).T


def scalar() -> Any:
    return np.array(7)


def empty() -> Any:
    return np.zeros((0, 3), "f4")


def no_length_at_all() -> Any:
    return np.zeros(3, "U0")


def texts() -> Any:
    return np.array(["a", "", "ünïcode"])


def days() -> Any:
    return np.array(["2026-01-01", "NaT"], "M8[D]")


def big_endian() -> Any:
    return np.arange(4, dtype=">i2")


def not_a_number() -> Any:
    return np.array([np.nan, -0.0, np.inf])


def records() -> Any:
    made = np.zeros(3, np.dtype([("flag", "u1"), ("inner", [("x", "u1"), ("y", "f8")], (2,)), ("z", "f8")], align=True))
    made["z"] = [1, 2, 3]
    made["inner"]["y"] = 5
    return made


def records_with_rubbish_between_fields() -> Any:
    made = np.full(3 * records().dtype.itemsize, 255, "u1").view(records().dtype)
    for field in ("flag", "z"):
        made[field] = records()[field]
    for field in ("x", "y"):
        made["inner"][field] = records()["inner"][field]
    return made


class TestArrayMaterializer(MaterializerContract):
    materializer = ArrayMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [
            numbers,
            numbers_in_fortran_order,
            large,
            scalar,
            empty,
            no_length_at_all,
            texts,
            days,
            big_endian,
            not_a_number,
            records,
        ]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [
            (numbers, numbers_in_fortran_order, numbers_seen_through_a_stride),
            (large, large_transposed),
            (records, records_with_rubbish_between_fields),
        ]

    def equal(self, one: Any, other: Any) -> bool:
        same = np.array_equal(one, other, equal_nan=one.dtype.kind in "fcmM")
        return type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape and same


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    from drystone_local import LocalArtifactStore

    return LocalArtifactStore(str(tmp_path))


@pytest.fixture
def materializers() -> Materializers:
    return Materializers([(ArrayMaterializer, "drystone-data")], allow_pickle=False)


def test_loaded_array_is_mapped_and_changing_it_changes_nothing_stored(
    store: ArtifactStore, materializers: Materializers
) -> None:
    manifest, _ = materializers.save(large(), Artifact(), store)
    loaded = materializers.load(manifest, store)
    base = loaded
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)
    loaded[...] = 0
    assert np.array_equal(materializers.load(manifest, store), large())


def test_array_from_a_remote_store_outlives_its_download(materializers: Materializers) -> None:
    remote = FsspecArtifactStore(url="memory://arrays")
    manifest, _ = materializers.save(numbers(), Artifact(), remote)
    assert np.array_equal(materializers.load(manifest, remote), numbers())


def test_memory_map_is_stored_as_the_array_it_maps(
    tmp_path: Path, store: ArtifactStore, materializers: Materializers
) -> None:
    np.save(tmp_path / "numbers.npy", numbers())
    mapped = np.load(tmp_path / "numbers.npy", mmap_mode="r")
    digests = {materializers.save(value, Artifact(), store)[0].blobs for value in (mapped, numbers())}
    assert len(digests) == 1


def test_file_is_what_numpy_writes(tmp_path: Path, store: ArtifactStore, materializers: Materializers) -> None:
    manifest, _ = materializers.save(numbers(), Artifact(), store)
    np.save(tmp_path / "numbers.npy", numbers())
    stored = store.local_path(f"blobs/{manifest.blobs[0].digest[:2]}/{manifest.blobs[0].digest}")
    assert stored is not None
    assert stored.read_bytes() == (tmp_path / "numbers.npy").read_bytes()


def test_metadata_are_shape_and_type(store: ArtifactStore, materializers: Materializers) -> None:
    _, noted = materializers.save(numbers(), Artifact(), store)
    assert noted == {"shape": [3, 4], "dtype": "float64"}


def test_array_of_objects_is_refused_with_the_ways_out(store: ArtifactStore, materializers: Materializers) -> None:
    with pytest.raises(MaterializerError) as caught:
        materializers.save(np.array([1, None]), Artifact(), store)
    assert str(caught.value) == (
        "An array of object cannot be stored as .npy: it holds Python objects, which only pickle can write. Give it a "
        "type of elements, as array.astype(float) or array.astype(str); return array.tolist(); or declare the output "
        "Artifact(allow_pickle=True)."
    )


def test_array_of_objects_is_pickled_where_its_output_says_so(
    store: ArtifactStore, materializers: Materializers
) -> None:
    value = np.array([1, None])
    manifest, _ = materializers.save(value, Artifact(allow_pickle=True), store)
    assert manifest.materializer == "pickle"
    assert materializers.load(manifest, store).tolist() == [1, None]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ma.array([1, 2], mask=[0, 1]), "MaskedArray is more than an array, and .npy would keep only the array."),
        (np.rec.array([(1, 2.0)]), "recarray is more than an array, and .npy would keep only the array."),
        (np.zeros(2, np.dtype("f8", metadata={"unit": "m"})), "The format .npy does not keep the type float64."),
        (np.zeros(2, [("ß☃", "f8")]), "The format .npy does not keep the names in [('ß☃', '<f8')]."),
    ],
)
def test_array_that_would_come_back_as_less_is_refused(
    value: Any, reason: str, store: ArtifactStore, materializers: Materializers
) -> None:
    with pytest.raises(MaterializerError) as caught:
        materializers.save(value, Artifact(), store)
    assert reason in str(caught.value)
