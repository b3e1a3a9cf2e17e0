"""What every materializer does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Artifact, Manifest
from drystone.blobs import blob_key
from drystone.errors import BlobLostError
from drystone.filesystems import FsspecArtifactStore
from drystone.materializers import BUILT_IN, Materializer, Materializers
from drystone.serialization import structure, unstructure
from drystone.testing.children import import_by_file

Factory = Callable[[], Any]
"""A function at the top of a test module, without parameters, that makes one value."""

CHILD = f"import json, sys; from {__name__} import answer; print(json.dumps(answer(**json.load(sys.stdin))))"


class MaterializerContract(ABC):
    """What every materializer does.

    Subclass it with the materializer and examples::

        class TestPointMaterializer(MaterializerContract):
            materializer = PointMaterializer

            def examples(self):
                return [origin, far_away]  # functions of this module

            def variants(self):
                return [(far_away, far_away_computed_in_another_order)]

    Class attributes:
        materializer: The class under test.
        reloads: Whether a value that was loaded is written with the bytes it was read from. False where loading gives
            a likeness, such as a picture of a figure.
        libraries: Modules that importing the materializer must leave alone, besides those its `types` name.
    """

    materializer: ClassVar[type[Materializer]]
    reloads: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def examples(self) -> Sequence[Factory]:
        """Functions at the top of the test module, each making one value: ordinary, empty, large and odd ones."""

    def variants(self) -> Sequence[tuple[Factory, ...]]:
        """Groups of such functions that make equal values in different ways: other chunks, other order of filling."""
        return ()

    def equal(self, one: Any, other: Any) -> bool:
        """Whether two values are equal in every respect the materializer promises to keep."""
        return type(one) is type(other) and bool(one == other)

    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> FsspecArtifactStore:
        """Where the values go."""
        return FsspecArtifactStore(url=f"file://{tmp_path}/artifacts")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per example."""
        if "example" in metafunc.fixturenames:
            metafunc.parametrize("example", self.examples(), ids=lambda factory: factory.__name__)

    def test_value_comes_back(self, example: Factory, artifact_store: ArtifactStore) -> None:
        """What is loaded equals what was saved, and saving has not changed it."""
        value, offered = example(), _materializers(self.materializer)
        manifest, _ = offered.save(value, Artifact(), artifact_store)
        loaded = offered.load(manifest, artifact_store)
        assert manifest.materializer == self.materializer.name, f"{manifest.materializer} wrote it instead"
        assert self.equal(value, example()), "saving changed the value"
        assert self.equal(value, loaded), f"{value!r} came back as {loaded!r}"

    def test_metadata_is_json(self, example: Factory) -> None:
        """Automatic metadata are plain JSON values under strings."""
        noted = dict(self.materializer().metadata(example()))
        assert json.loads(json.dumps(noted, allow_nan=False)) == noted

    def test_equal_values_are_equal_bytes(self, artifact_store: ArtifactStore) -> None:
        """However a value was made, its digest is the same."""
        offered = _materializers(self.materializer)
        for group in self.variants():
            digests = {make.__name__: offered.save(make(), Artifact(), artifact_store)[0].digest for make in group}
            assert len(set(digests.values())) == 1, digests

    def test_another_process_agrees(self, artifact_store: FsspecArtifactStore) -> None:
        """A process with another hash seed, day and time zone makes, writes and reads the same values.

        What is not deterministic must be readable there, and need not have the same digests.
        """
        offered = _materializers(self.materializer)
        saved = [offered.save(make(), Artifact(), artifact_store)[0] for make in self.examples()]
        module = sys.modules[type(self).__module__]
        where = {"module": module.__name__, "file": module.__file__, "name": type(self).__qualname__}
        request = json.dumps({**where, "url": artifact_store.url, "saved": unstructure(saved)})
        seed = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu"}
        answered = subprocess.check_output([sys.executable, "-c", CHILD], input=request, text=True, env=environment)
        made, loaded = json.loads(answered.splitlines()[-1])
        digests = [each.digest for each in saved]
        assert len(made) == len(loaded) == len(saved)
        if self.materializer.deterministic:
            assert made == digests, "equal values gave other bytes"
            assert loaded == digests or not self.reloads, "loaded values gave other bytes"

    def test_damage_is_noticed(self, example: Factory, artifact_store: ArtifactStore) -> None:
        """Loading from a blob of the right size and other content raises `BlobLostError`."""
        offered = _materializers(self.materializer)
        manifest, _ = offered.save(example(), Artifact(), artifact_store)
        for key in (blob_key(each.digest) for each in manifest.blobs):
            artifact_store.write(key, bytes(255 - byte for byte in artifact_store.read_range(key, 0, None)))
        if manifest.size:
            with pytest.raises(BlobLostError, match="damaged"):
                offered.load(manifest, artifact_store)

    def test_importing_it_is_light(self) -> None:
        """Importing the materializer imports none of the libraries whose values it takes."""
        named = {each.partition(".")[0] for each in self.materializer.types if isinstance(each, str)}
        heavy = sorted((named | set(self.libraries)) - sys.stdlib_module_names)
        code = f"import sys, {self.materializer.__module__}; print([name for name in {heavy!r} if name in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def _materializers(cls: type[Materializer]) -> Materializers:
    return Materializers([] if cls in BUILT_IN else [(cls, "the tests")], allow_pickle=True)


def answer(module: str, file: str, name: str, url: str, saved: list[Any]) -> tuple[list[str], list[str]]:
    """The digests of a contract's examples, made and loaded in the process that the contract starts.

    Args:
        module: The test module, under the name that pytest gave it and by which its classes are stored.
        file: Its file.
        name: The contract's name in it.
        url: The store that holds what was saved.
        saved: Manifests.
    """
    now = time.time
    time.time = lambda: now() + 86_400  # what stamps files with the time must not show in them
    contract: MaterializerContract = getattr(import_by_file(module, file), name)()
    offered, store = _materializers(contract.materializer), FsspecArtifactStore(url=url)

    def digests(values: Iterable[Any]) -> list[str]:
        return [offered.save(value, Artifact(), store)[0].digest for value in values]

    made = digests(make() for make in contract.examples())
    return made, digests(offered.load(structure(each, Manifest), store) for each in saved)
