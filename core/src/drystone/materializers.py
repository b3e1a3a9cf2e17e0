"""Materializers: how values become files and files values again."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from drystone.annotations import accepts, bare, described
from drystone.artifacts import Artifact, Manifest
from drystone.blobs import BlobReader, BlobWriter
from drystone.components import ArtifactStore
from drystone.digests import digest_value, type_name
from drystone.errors import DuplicateComponentError, EncodingError, MaterializerError
from drystone.values import dumps, from_json, to_json


class Materializer(ABC):
    """Writes values of some types as files, and reads them back.

    Class attributes:
        name: Kept in every manifest, as `numpy.array`; never changes.
        version: Raised when what is written changes; results written by another version are computed anew.
        types: Classes, or their full names for libraries that must not be imported before a value of theirs appears.
            Subclasses are taken as well.
        deterministic: Whether equal values give equal bytes: in another process, at another time, under another hash
            seed. Only then can an unchanged result spare what depends on it.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    types: ClassVar[tuple[type | str, ...]] = ()
    deterministic: ClassVar[bool] = True

    @abstractmethod
    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write the value's files.

        Args:
            value: Of one of `types`.
            writer: Takes the files: `write(path, bytes)`, `open(path)`, `file(path)`.
            artifact: The declaration, with what it trusts and allows.

        Raises:
            MaterializerError: This value cannot be written; the message says what can be done.
        """

    @abstractmethod
    def load(self, reader: BlobReader) -> Any:
        """Read the value: `reader.read(path)` for bytes, `reader.file(path)` for a file to map."""

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """What to note about a value without being asked, such as its shape. JSON values."""
        return {}


class TextMaterializer(Materializer):
    """A string, as UTF-8."""

    name = "text"
    types = (str,)

    def save(self, value: str, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `text.txt`."""
        if type(value) is not str:
            raise EncodingError("a subclass of str")
        writer.write("text.txt", value.encode("utf-8", "surrogatepass"))

    def load(self, reader: BlobReader) -> str:
        """The string."""
        return reader.read("text.txt").decode("utf-8", "surrogatepass")

    def metadata(self, value: str) -> Mapping[str, Any]:
        """Its length in characters."""
        return {"length": len(value)}


class BytesMaterializer(Materializer):
    """Bytes, as they are."""

    name = "bytes"
    types = (bytes,)

    def save(self, value: bytes, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `data.bin`."""
        if type(value) is not bytes:
            raise EncodingError("a subclass of bytes")
        writer.write("data.bin", value)

    def load(self, reader: BlobReader) -> bytes:
        """The bytes."""
        return reader.read("data.bin")


class JSONMaterializer(Materializer):
    """Plain values and everything built from them, with exact round trips."""

    name = "json"
    types = (object,)

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `value.json`.

        Raises:
            EncodingError: Something in the value has no exact JSON form.
        """
        try:
            text = dumps(to_json(value))
        except RecursionError:
            raise EncodingError("The value is nested too deeply, or contains itself.") from None
        writer.write("value.json", text.encode("utf-8", "surrogatepass"))

    def load(self, reader: BlobReader) -> Any:
        """The value."""
        return from_json(json.loads(reader.read("value.json").decode("utf-8", "surrogatepass")))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """The length of a container."""
        return {"length": len(value)} if isinstance(value, list | tuple | dict | set | frozenset) else {}


class PathMaterializer(Materializer):
    """A `pathlib.Path`: the file, or the directory with everything below it, as it is when the step returns."""

    name = "path"
    types = ("pathlib.PurePath", "pathlib._local.PurePath")

    def save(self, value: Path, writer: BlobWriter, artifact: Artifact) -> None:
        """Copy the file or the files."""
        path = Path(value)
        if path.is_file():
            writer.add(path.name, path)
        elif path.is_dir():
            for found in sorted(path.rglob("*")):
                inside = f"{path.name}/{found.relative_to(path).as_posix()}"
                if found.is_file():
                    writer.add(inside, found)
                elif not any(found.iterdir()):
                    writer.write(f"{inside}/", b"")
            if not any(path.iterdir()):
                writer.write(f"{path.name}/", b"")
        else:
            raise MaterializerError(
                f"{str(path)!r} is neither a file nor a directory. A step that returns a Path must leave it in place; "
                "to return the text of a path, return str(path)."
            )

    def load(self, reader: BlobReader) -> Path:
        """A copy in a directory of its own, which the caller may change."""
        target = Path(tempfile.mkdtemp(prefix="drystone-path-"))
        for blob in reader.manifest.blobs:
            inside = target / blob.path
            if target not in inside.resolve().parents:
                raise MaterializerError(f"The artifact holds {blob.path!r}, which would leave its directory.")
            if blob.path.endswith("/"):
                inside.mkdir(parents=True, exist_ok=True)
            else:
                reader.copy(blob.path, inside)
        return target / reader.manifest.blobs[0].path.partition("/")[0]

    def metadata(self, value: Path) -> Mapping[str, Any]:
        """The number of files in a directory."""
        return {"files": sum(1 for found in value.rglob("*") if found.is_file())} if value.is_dir() else {}


class PickleMaterializer(Materializer):
    """Anything else, where pickle is allowed: by value, including classes of the project."""

    name = "pickle"
    types = (object,)
    deterministic = False

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `value.pkl`."""
        import cloudpickle  # noqa: PLC0415 - most workspaces never need it

        try:
            data = cloudpickle.dumps(value)
        except Exception as exc:  # whatever the value's own __reduce__ raises
            raise MaterializerError(
                f"A value of type {type_name(type(value))} cannot be stored: it has no JSON form, no installed plugin "
                f"has a materializer for it, and pickling it fails ({type(exc).__name__}: {exc}). Return something "
                "else, or write a materializer (hook drystone_materializers)."
            ) from exc
        writer.write("value.pkl", data)

    def load(self, reader: BlobReader) -> Any:
        """The value. Runs code that the artifact names, which is why shared workspaces forbid it."""
        import cloudpickle  # noqa: PLC0415

        return cloudpickle.loads(reader.read("value.pkl"))


BUILT_IN: tuple[type[Materializer], ...] = (
    TextMaterializer,
    BytesMaterializer,
    PathMaterializer,
    JSONMaterializer,
    PickleMaterializer,
)

CORE = "drystone-core"


@attrs.frozen
class Offer:
    """A materializer and the distribution it came with."""

    materializer: Materializer
    provider: str


class Materializers:
    """The materializers that are installed, and the choice among them."""

    def __init__(self, offered: Iterable[tuple[type[Materializer], str]] = (), *, allow_pickle: bool) -> None:
        self.allow_pickle = allow_pickle
        self._by_name: dict[str, Offer] = {}
        self._by_type: dict[str, Offer] = {}
        for cls, provider in [*((cls, CORE) for cls in BUILT_IN), *offered]:
            self._add(Offer(cls(), provider))

    def _add(self, offer: Offer) -> None:
        name = offer.materializer.name
        if name in self._by_name:
            other = self._by_name[name].provider
            raise DuplicateComponentError(
                f"Both {other} and {offer.provider} offer a materializer named {name!r}. Uninstall one of them."
            )
        self._by_name[name] = offer
        for claimed in offer.materializer.types:
            key = claimed if isinstance(claimed, str) else f"{claimed.__module__}.{claimed.__qualname__}"
            if key != "builtins.object":
                self._by_type[key] = offer

    def save(self, value: Any, artifact: Artifact, store: ArtifactStore) -> tuple[Manifest, dict[str, Any]]:
        """Write a value into a store; returns its manifest and automatic metadata.

        Raises:
            MaterializerError: Nothing that is allowed here takes this value.
        """
        refused: list[str] = []
        for offer in self._candidates(type(value)):
            writer = BlobWriter(store)
            try:
                offer.materializer.save(value, writer, artifact)
            except EncodingError as exc:
                refused.append(str(exc))
                if offer.materializer.name == JSONMaterializer.name:
                    self._check_pickle(type(value), artifact, refused)
                continue
            manifest = _manifest(type_name(type(value)), offer, writer, artifact, store)
            return manifest, dict(offer.materializer.metadata(value))
        raise AssertionError("the last candidate takes everything")

    def load(self, manifest: Manifest, store: ArtifactStore) -> Any:
        """Read what a manifest describes.

        Raises:
            MaterializerError: What wrote it is not installed, or it is pickled and that is forbidden here.
            BlobLostError: Bytes are missing or damaged.
        """
        offer = self._by_name.get(manifest.materializer)
        if offer is None:
            raise MaterializerError(
                f"This artifact was written by the materializer {manifest.materializer!r} of {manifest.provider}, "
                f"which is not installed. Install it: pip install {manifest.provider}."
            )
        if offer.materializer.name == PickleMaterializer.name and not (self.allow_pickle or manifest.allow_pickle):
            raise MaterializerError(
                "This artifact is pickled, and loading a pickle runs whatever code it names. This workspace forbids "
                "that. If you trust its author, open it with Workspace(location, allow_pickle=True)."
            )
        return offer.materializer.load(BlobReader(store, manifest))

    def current(self, manifest: Manifest) -> bool:
        """Whether what wrote it is installed in the same version, so that its result can stand for a new one."""
        offer = self._by_name.get(manifest.materializer)
        return offer is not None and offer.materializer.version == manifest.materializer_version

    def expected(self, annotation: Any) -> tuple[str, int] | None:
        """Name and version of the materializer for values of an annotated type; None where the value decides."""
        wanted = bare(annotation)
        if not isinstance(wanted, type):
            return None
        offer = self._specific(wanted)
        return (offer.materializer.name, offer.materializer.version) if offer else None

    def deterministic(self, name: str) -> bool:
        """Whether a materializer writes equal bytes for equal values."""
        return name in self._by_name and self._by_name[name].materializer.deterministic

    def _candidates(self, kind: type) -> Iterator[Offer]:
        specific = self._specific(kind)
        if specific is not None:
            yield specific
        yield self._by_name[JSONMaterializer.name]
        yield self._by_name[PickleMaterializer.name]

    def _specific(self, kind: type) -> Offer | None:
        for base in kind.__mro__:
            offer = self._by_type.get(f"{base.__module__}.{base.__qualname__}")
            if offer is not None:
                return offer
        return None

    def _check_pickle(self, kind: type, artifact: Artifact, refused: list[str]) -> None:
        if self.allow_pickle or artifact.allow_pickle:
            return
        nobody = " No plugin has a materializer for it, and" if len(refused) == 1 else " Pickle could, but"
        raise MaterializerError(
            f"A value of type {described(kind)} cannot be stored here: {refused[0]}{nobody} this workspace forbids "
            "pickle. Ways out: return plain data; install a plugin for the type; write a materializer (hook "
            "drystone_materializers); or declare the output Artifact(allow_pickle=True)."
        )


def _manifest(name: str, offer: Offer, writer: BlobWriter, artifact: Artifact, store: ArtifactStore) -> Manifest:
    materializer = offer.materializer
    content = [(blob.path, blob.digest) for blob in writer.blobs]
    return Manifest(
        digest=digest_value((name, materializer.name, materializer.version, content)),
        type=name,
        materializer=materializer.name,
        materializer_version=materializer.version,
        blobs=writer.blobs,
        store=store.identity,
        provider=offer.provider,
        trusted=artifact.trusted,
        allow_pickle=artifact.allow_pickle,
    )


def check_output(value: Any, annotation: Any, label: str) -> None:
    """Refuse a value that its annotation does not promise.

    Raises:
        TypeError: Names the output, what was promised and what came.
    """
    if not accepts(value, annotation):
        raise TypeError(f"{label} is annotated {described(annotation)}, but is {described(type(value))}.")
