"""The built-in materializers keep the published contract, and the choice among materializers explains itself."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import attrs
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone import parts
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Artifact
from drystone.blobs import BlobReader, BlobWriter
from drystone.errors import BlobLostError, DuplicateComponentError, MaterializerError
from drystone.filesystems import FsspecArtifactStore
from drystone.materializers import (
    BytesMaterializer,
    JSONMaterializer,
    Materializer,
    Materializers,
    PathMaterializer,
    PickleMaterializer,
    TextMaterializer,
)
from drystone.testing import MaterializerContract

DIRECTORIES: list[tempfile.TemporaryDirectory[str]] = []
"""Kept until the process ends, which removes them."""


class Season(enum.Enum):
    WINTER = "w"
    SUMMER = "s"


@dataclasses.dataclass
class Flight:
    number: int
    stops: list[str]


@attrs.frozen
class Delay:
    minutes: float
    causes: frozenset[str]


class Position(NamedTuple):
    latitude: float
    longitude: float


class Opaque:
    """What has no JSON form."""

    def __init__(self, value: int) -> None:
        self.value = value


def text() -> Any:
    return "grün \udc80\0 text"


def empty_text() -> Any:
    return ""


class TestTextMaterializer(MaterializerContract):
    materializer = TextMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [text, empty_text]


def some_bytes() -> Any:
    return bytes(range(256))


def no_bytes() -> Any:
    return b""


class TestBytesMaterializer(MaterializerContract):
    materializer = BytesMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [some_bytes, no_bytes]


def nothing() -> Any:
    return None


def numbers() -> Any:
    return [1, 1.5, True, 2**600, -0.0, math.inf, 1 + 2j]


def containers() -> Any:
    return {"tuple": (1, [2, (3,)]), "$": {"a": {1}}, (1, "2"): frozenset({"x"}), "bytes": bytearray(b"x")}


def words() -> Any:
    return {"departure", "arrival", "carrier", "origin", "destination"}


def words_filled_in_another_order() -> Any:
    made = {"".join(["ori", "gin"])}
    for word in sorted(words(), reverse=True):
        made.add(word)
    return made


def moments() -> Any:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return [datetime.datetime(2026, 1, 1, tzinfo=zone), datetime.date(2026, 1, 1), datetime.timedelta(1)]


def objects() -> Any:
    return [Season.SUMMER, Flight(7, ["EWR"]), Delay(12.5, frozenset({"weather"})), Position(1, 2), uuid.UUID(int=7)]


class TestJSONMaterializer(MaterializerContract):
    materializer = JSONMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [nothing, numbers, containers, words, moments, objects]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [(words, words_filled_in_another_order)]


def directory() -> Path:
    DIRECTORIES.append(tempfile.TemporaryDirectory())
    return Path(DIRECTORIES[-1].name)


def file() -> Any:
    path = directory() / "notes.txt"
    path.write_text("notes")
    return path


def tree() -> Any:
    root = directory() / "data"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("a")
    (root / "deep" / "er" / "b.bin").write_bytes(b"\0")
    return root


def empty_tree() -> Any:
    root = directory() / "nothing"
    root.mkdir()
    return root


def content(path: Path) -> dict[str, bytes | None]:
    found = [path, *path.rglob("*")]
    return {each.relative_to(path.parent).as_posix(): each.read_bytes() if each.is_file() else None for each in found}


class TestPathMaterializer(MaterializerContract):
    materializer = PathMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [file, tree, empty_tree]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and content(one) == content(other)


def opaque() -> Any:
    return Opaque(7)


class TestPickleMaterializer(MaterializerContract):
    materializer = PickleMaterializer
    libraries = ("cloudpickle",)

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [opaque]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and vars(one) == vars(other)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FsspecArtifactStore(url=f"file://{tmp_path}/artifacts")


@pytest.fixture
def strict() -> Materializers:
    return Materializers(allow_pickle=False)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from(Season)
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.frozensets(KEYS)
        | st.builds(Flight, number=inner, stops=st.lists(st.text()))
        | st.builds(Position, inner, inner)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_any_plain_value_survives_a_store(value: Any) -> None:
    shelf = FsspecArtifactStore(url="memory://plain-values")
    materializers = Materializers(allow_pickle=False)
    manifest, _ = materializers.save(value, Artifact(), shelf)
    loaded = materializers.load(manifest, shelf)
    assert loaded == value
    assert repr(loaded) == repr(value) or isinstance(value, frozenset | dict | list | tuple | Flight)
    assert materializers.save(loaded, Artifact(), shelf)[0].digest == manifest.digest


class OpaqueMaterializer(Materializer):
    name = "opaque"
    types = (f"{__name__}.Opaque",)

    def save(self, value: Opaque, writer: BlobWriter, artifact: Artifact) -> None:
        writer.write("value", str(value.value).encode())

    def load(self, reader: BlobReader) -> Opaque:
        return Opaque(int(reader.read("value")))


class NewerOpaqueMaterializer(OpaqueMaterializer):
    version = 2


class MoreOpaque(Opaque):
    """Taken by the materializer of its base class."""


def test_materializer_of_a_plugin_takes_its_types_and_their_subclasses(store: ArtifactStore) -> None:
    materializers = Materializers([(OpaqueMaterializer, "some-plugin")], allow_pickle=False)
    for value in (Opaque(1), MoreOpaque(1)):
        manifest, _ = materializers.save(value, Artifact(), store)
        assert (manifest.materializer, manifest.provider) == ("opaque", "some-plugin")
    assert materializers.expected(Annotated[MoreOpaque, Artifact("x")]) == ("opaque", 1)


def test_value_without_any_way_is_refused_with_the_ways_out(store: ArtifactStore, strict: Materializers) -> None:
    with pytest.raises(MaterializerError) as caught:
        strict.save(Opaque(1), Artifact(), store)
    message = str(caught.value)
    assert message.startswith("A value of type ")
    assert (
        "Opaque has no exact JSON form. No plugin has a materializer for it, and this workspace forbids pickle."
        in message
    )
    assert message.endswith(
        "Ways out: return plain data; install a plugin for the type; write a materializer (hook "
        "drystone_materializers); or declare the output Artifact(allow_pickle=True)."
    )


def test_output_that_allows_pickle_is_pickled_and_read_again(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = strict.save(Opaque(7), Artifact(allow_pickle=True), store)
    assert manifest.materializer == "pickle"
    assert strict.load(manifest, store).value == 7


def test_pickle_of_a_lenient_workspace_is_not_read_in_a_strict_one(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = Materializers(allow_pickle=True).save(Opaque(7), Artifact(), store)
    with pytest.raises(MaterializerError) as caught:
        strict.load(manifest, store)
    assert str(caught.value) == (
        "This artifact is pickled, and loading a pickle runs whatever code it names. This workspace forbids that. If "
        "you trust its author, open it with Workspace(location, allow_pickle=True)."
    )


def test_artifact_of_a_plugin_that_is_gone_names_what_to_install(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = Materializers([(OpaqueMaterializer, "some-plugin")], allow_pickle=False).save(
        Opaque(1), Artifact(), store
    )
    with pytest.raises(MaterializerError) as caught:
        strict.load(manifest, store)
    assert str(caught.value) == (
        "This artifact was written by the materializer 'opaque' of some-plugin, which is not in use here. Install "
        "it: pip install some-plugin. If it is installed, `drystone plugins list` says whether it is blocked or broken."
    )


def test_two_materializers_of_one_name_are_an_error_naming_both() -> None:
    offered = [(OpaqueMaterializer, "one"), (NewerOpaqueMaterializer, "other")]
    with pytest.raises(DuplicateComponentError) as caught:
        Materializers(offered, allow_pickle=False)
    assert str(caught.value) == "Both one and other offer a materializer named 'opaque'. Uninstall one of them."


def test_result_of_another_version_of_a_materializer_is_not_current(store: ArtifactStore) -> None:
    older = Materializers([(OpaqueMaterializer, "plugin")], allow_pickle=False)
    newer = Materializers([(NewerOpaqueMaterializer, "plugin")], allow_pickle=False)
    manifest, _ = older.save(Opaque(1), Artifact(), store)
    assert older.current(manifest)
    assert not newer.current(manifest)
    assert newer.save(Opaque(1), Artifact(), store)[0].digest != manifest.digest


def test_equal_content_is_stored_once(store: ArtifactStore, strict: Materializers) -> None:
    for name in ("a", "b", "c"):
        strict.save("x" * 1000, Artifact(name), store)
    assert [size for _, size in store.list("blobs/")] == [1000]


def test_path_that_is_not_there_is_refused(tmp_path: Path, store: ArtifactStore, strict: Materializers) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(MaterializerError) as caught:
        strict.save(missing, Artifact(), store)
    assert str(caught.value) == (
        f"{str(missing)!r} is neither a file nor a directory. A step that returns a Path must leave it in place; to "
        "return the text of a path, return str(path)."
    )


def test_loaded_path_is_a_copy(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = strict.save(tree(), Artifact(), store)
    (strict.load(manifest, store) / "a.txt").write_text("changed")
    assert (strict.load(manifest, store) / "a.txt").read_text() == "a"


def test_path_in_a_forged_manifest_cannot_leave_its_directory(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = strict.save(file(), Artifact(), store)
    forged = attrs.evolve(manifest, blobs=(attrs.evolve(manifest.blobs[0], path="../../escape.txt"),))
    with pytest.raises(MaterializerError, match=r"holds '../../escape.txt', which would leave its directory"):
        strict.load(forged, store)


def test_missing_blob_is_named_with_the_way_out(store: ArtifactStore, strict: Materializers) -> None:
    manifest, _ = strict.save("x", Artifact(), store)
    digest = manifest.blobs[0].digest
    store.delete(f"blobs/{digest[:2]}/{digest}")
    with pytest.raises(BlobLostError) as caught:
        strict.load(manifest, store)
    assert f"The blob {digest[:12]}… (text.txt, 1 bytes) is missing in the artifact store" in str(caught.value)
    assert "Run the pipeline again" in str(caught.value)


def test_a_directory_holds_what_its_links_lead_to(tmp_path: Path, store: ArtifactStore, strict: Materializers) -> None:
    for name in ("out/deep/file", "folder/own"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder/linked").symlink_to(tmp_path / "out")
    manifest, noted = strict.save(tmp_path / "folder", Artifact(), store)
    assert noted == {"files": 2}
    assert (strict.load(manifest, store) / "linked/deep/file").read_text() == "out/deep/file"


def test_what_in_a_directory_cannot_be_kept_is_named(
    tmp_path: Path, store: ArtifactStore, strict: Materializers
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MaterializerError, match="broken' is neither a file nor a directory"):
        strict.save(folder, Artifact(), store)
    (folder / "broken").unlink()
    (folder / "up").symlink_to(folder)
    with pytest.raises(MaterializerError, match="up' is a link to a directory above it"):
        strict.save(folder, Artifact(), store)


def test_a_path_is_loaded_where_the_directory_for_temporary_files_is_a_link(
    tmp_path: Path, store: ArtifactStore, strict: Materializers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))  # TMPDIR is read once per process
    (tmp_path / "file").write_text("x")
    manifest, _ = strict.save(tmp_path / "file", Artifact(), store)
    assert strict.load(manifest, store).read_text() == "x"


def test_an_open_file_of_a_blob_takes_an_empty_array_of_many_dimensions(store: ArtifactStore) -> None:
    writer = BlobWriter(store)
    with writer.open("x") as file:
        assert file.write(numpy.zeros((0, 3))) == 0
        assert file.write(numpy.zeros((2, 3))) == 48
    assert writer.blobs[0].size == 48


# --- lists in parts ---------------------------------------------------------------------------------------------------


@given(value=st.lists(st.integers() | st.text(max_size=3) | st.tuples(st.booleans())), as_tuple=st.booleans())
def test_a_list_in_parts_comes_back_whole_and_member_by_member(value: list[Any], as_tuple: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        kept = FsspecArtifactStore(url=f"file://{place}")
        known = Materializers(allow_pickle=False)
        given_value: Any = tuple(value) if as_tuple else value
        manifest, noted = known.save_parts(given_value, Artifact(), kept)
        assert noted == {"length": len(value)}
        assert known.load(manifest, kept) == given_value
        assert known.load(parts.brief(manifest), kept) == given_value
        members = parts.split(manifest, kept)
        assert [known.load(each, kept) for each in members] == value
        assert [each.digest for each in members] == [known.save(each, Artifact(), kept)[0].digest for each in value]
        assert parts.joined(members, type(given_value)).digest == manifest.digest
        assert known.current(manifest)
        assert known.deterministic(manifest)
        assert {blob.path for blob in manifest.blobs} == {
            *(f"{place}/{blob.path}" for place, each in enumerate(members) for blob in each.blobs),
            "parts.json",
        }


def test_what_parts_a_list_has_and_in_which_order_is_in_its_digest(store: ArtifactStore) -> None:
    known = Materializers(allow_pickle=False)
    values: list[Any] = [[], (), [1], (1,), [1, 2], [2, 1], [[1], 2], ["1"]]
    digests = [known.save_parts(value, Artifact(), store)[0].digest for value in values]
    assert len(set(digests)) == len(values)


def test_a_list_whose_parts_another_version_wrote_is_not_current(store: ArtifactStore) -> None:
    manifest, _ = Materializers(allow_pickle=True).save_parts([1, Opaque(2)], Artifact(), store)
    assert manifest.inside == (("json", 1), ("pickle", 1))
    assert not Materializers(allow_pickle=True).deterministic(manifest)
    assert not Materializers(allow_pickle=True).current(attrs.evolve(manifest, inside=(("json", 0),)))
    with pytest.raises(MaterializerError, match="forbids"):
        Materializers(allow_pickle=False).load(manifest, store)


def test_only_lists_and_tuples_have_parts(store: ArtifactStore) -> None:
    for value in ({1}, "ab", {"a": 1}, Position(1.0, 2.0), numpy.arange(2)):
        with pytest.raises(MaterializerError, match="it must be a list or a tuple"):
            Materializers(allow_pickle=True).save_parts(value, Artifact(), store)
