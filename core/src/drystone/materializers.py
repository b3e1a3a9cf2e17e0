"""Materializers: how values become files and files values again."""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from drystone import parts
from drystone.annotations import bare, described
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Artifact, Manifest
from drystone.blobs import BlobReader, BlobWriter
from drystone.catalogs import CORE, install, providing
from drystone.digests import type_name
from drystone.errors import DuplicateComponentError, EncodingError, MaterializerError
from drystone.values import dumps, from_json, may_be_exact, to_json


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
        """Read the value: `reader.read(path)` for bytes, `reader.file(path)` for a file to map.

        A materializer that can read a part of a value takes what is wanted of it as keyword-only parameters that
        default to None, which stands for everything: `def load(self, reader, *, columns=None, rows=None)`. They get
        what users pass to `load(columns=…)` of an artifact; a name that is no parameter is refused before. With
        `reader.open(path)` only those bytes of a file are transferred that are read.
        """

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
            raise EncodingError("A subclass of str would come back as plain text.")
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
            raise EncodingError("A subclass of bytes would come back as plain bytes.")
        writer.write("data.bin", value)

    def load(self, reader: BlobReader) -> bytes:
        """The bytes."""
        return reader.read("data.bin")


class JSONMaterializer(Materializer):
    """Plain values and everything built from them, with exact round trips."""

    name = "json"

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
    types = ("pathlib.Path", "pathlib._local.Path")

    def save(self, value: Path, writer: BlobWriter, artifact: Artifact) -> None:
        """Copy the file or the files; an empty directory becomes an empty file whose name ends in a slash."""
        path = Path(os.path.abspath(value))
        for found in _leaves(path):
            inside = found.relative_to(path.parent).as_posix()
            if found.is_file():
                writer.add(inside, found)
            else:
                writer.write(f"{inside}/", b"")

    def load(self, reader: BlobReader) -> Path:
        """A copy in a directory of its own, which the caller may change."""
        target = Path(tempfile.mkdtemp(prefix="drystone-path-")).resolve()
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
        return {"files": sum(found.is_file() for found in _leaves(value))} if value.is_dir() else {}


def _leaves(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The file, or the files and empty directories below a directory, links followed."""
    real = path.resolve()
    if path.is_file():
        yield path
    elif path.is_dir() and real not in above:
        inside = sorted(path.iterdir())
        if not inside:
            yield path
        for each in inside:
            yield from _leaves(each, (*above, real))
    else:
        what = "a link to a directory above it" if real in above else "neither a file nor a directory"
        raise MaterializerError(
            f"{str(path)!r} is {what}. A step that returns a Path must leave it in place; to return the text of "
            "a path, return str(path)."
        )


class PickleMaterializer(Materializer):
    """Anything else, where pickle is allowed: by value, including classes of the project."""

    name = "pickle"
    deterministic = False

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `value.pkl`."""
        import cloudpickle  # noqa: PLC0415 - most workspaces never need it

        try:
            data = cloudpickle.dumps(value)
        except Exception as exc:  # whatever the value's own __reduce__ raises
            raise MaterializerError(
                f"A value of type {type_name(type(value))} cannot be stored: it has no JSON form, no installed plugin "
                f"has a materializer for it, and pickling it fails ({type(exc).__name__}: {exc})."
                f"{providing(type_name=type_name(type(value)))} Return something else, or write a materializer (hook "
                "drystone_materializers)."
            ) from exc
        writer.write("value.pkl", data)

    def load(self, reader: BlobReader) -> Any:
        """The value. Runs code that the artifact names, which is why shared workspaces forbid it."""
        import cloudpickle  # noqa: PLC0415

        return cloudpickle.loads(reader.read("value.pkl"))


ANYTHING = (JSONMaterializer, PickleMaterializer)
"""Tried in this order with what no other materializer takes."""

BUILT_IN: tuple[type[Materializer], ...] = (TextMaterializer, BytesMaterializer, PathMaterializer, *ANYTHING)


class Materializers:
    """The materializers that are installed, and the choice among them."""

    def __init__(self, offered: Iterable[tuple[type[Materializer], str]] = (), *, allow_pickle: bool) -> None:
        self.allow_pickle = allow_pickle
        self._by_name: dict[str, Materializer] = {}
        self._by_type: dict[str, Materializer] = {}
        self._providers = {parts.NAME: CORE}
        for cls, provider in [*((cls, CORE) for cls in BUILT_IN), *offered]:
            if cls.name in self._providers:
                both = f"{self._providers[cls.name]} and {provider} offer a materializer named {cls.name!r}"
                raise DuplicateComponentError(f"Both {both}. Uninstall one of them.")
            materializer = self._by_name[cls.name] = cls()
            self._providers[cls.name] = provider
            for kind in cls.types:
                self._by_type[kind if isinstance(kind, str) else type_name(kind)] = materializer

    def save(self, value: Any, artifact: Artifact, store: ArtifactStore) -> tuple[Manifest, dict[str, Any]]:
        """Write a value into a store; returns its manifest and automatic metadata.

        Raises:
            MaterializerError: Nothing that is allowed here takes this value.
        """
        kind = type(value)
        allowed = self.allow_pickle or artifact.allow_pickle
        refused: list[str] = []
        for materializer in filter(None, (self._specific(kind), *(self._by_name[cls.name] for cls in ANYTHING))):
            if materializer.name == PickleMaterializer.name and not allowed:
                raise _refusal(kind, refused)
            writer = BlobWriter(store)
            try:
                materializer.save(value, writer, artifact)
                break
            except EncodingError as exc:
                refused.append(str(exc))
        blobs = writer.blobs
        content = [type_name(kind), materializer.name, str(materializer.version)]
        for blob in blobs:
            content += (blob.path, blob.digest)
        manifest = Manifest(
            digest=parts.digest_of(*content),
            type=content[0],
            materializer=materializer.name,
            materializer_version=materializer.version,
            blobs=blobs,
            store=store.identity,
            provider=self._providers[materializer.name],
            trusted=artifact.trusted,
            allow_pickle=artifact.allow_pickle,
        )
        return manifest, dict(materializer.metadata(value))

    def save_parts(self, value: Any, artifact: Artifact, store: ArtifactStore) -> tuple[Manifest, dict[str, Any]]:
        """Write a list or tuple member by member, so that each can be read without the others.

        Raises:
            MaterializerError: It is neither, or nothing that is allowed here takes one of its members.
        """
        if type(value) not in parts.TYPES.values():
            raise MaterializerError(
                f"A step maps over this value, so it must be a list or a tuple, but it is {described(type(value))}."
            )
        saved = [self.save(each, artifact, store)[0] for each in value]
        return parts.joined(saved, type(value), store), {"length": len(saved)}

    def load(self, manifest: Manifest, store: ArtifactStore, **options: Any) -> Any:
        """Read what a manifest describes, or the part of it that the options ask for.

        Raises:
            MaterializerError: What wrote it is not installed, or cannot read it in part; or it is pickled and that is
                forbidden here.
            BlobLostError: Bytes are missing or damaged.
        """
        if manifest.materializer == parts.NAME:
            _check_options(options, (), "a list that is stored member by member")
            return parts.TYPES[manifest.type](self.load(part, store) for part in parts.split(manifest, store))
        materializer = self._by_name.get(manifest.materializer)
        if materializer is None:
            raise MaterializerError(
                f"This artifact was written by the materializer {manifest.materializer!r} of {manifest.provider}, "
                f"which is not in use here. {install(manifest.provider)} If it is installed, "
                "`drystone plugins list` says whether it is blocked or broken."
            )
        if materializer.name == PickleMaterializer.name and not (self.allow_pickle or manifest.allow_pickle):
            raise MaterializerError(
                "This artifact is pickled, and loading a pickle runs whatever code it names. This workspace forbids "
                "that. If you trust its author, open it with Workspace(location, allow_pickle=True)."
            )
        if options:
            _check_options(options, options_of(materializer), f"what the materializer {materializer.name!r} writes")
        return materializer.load(BlobReader(store, manifest), **options)

    def current(self, manifest: Manifest) -> bool:
        """Whether what wrote it is installed in the same version, so that its result can stand for a new one."""
        makers = _makers(manifest)
        return all(name in self._by_name and self._by_name[name].version == version for name, version in makers)

    def expected(self, annotation: Any) -> tuple[str, int] | None:
        """Name and version of the materializer for values of an annotated type; None where the value decides."""
        wanted = bare(annotation)
        materializer = self._specific(wanted) if isinstance(wanted, type) else None
        return (materializer.name, materializer.version) if materializer else None

    def only_pickle(self, annotation: Any) -> bool:
        """Whether values of an annotated class can be stored by pickle alone, as far as a class tells."""
        wanted = bare(annotation)
        if (
            not isinstance(wanted, type)
            or wanted is object
            or inspect.isabstract(wanted)
            or getattr(wanted, "_is_protocol", False)
        ):
            return False
        return wanted.__module__ != "numpy" and self._specific(wanted) is None and not may_be_exact(wanted)

    def deterministic(self, manifest: Manifest) -> bool:
        """Whether what wrote it, or its parts, writes equal bytes for equal values."""
        return all(name in self._by_name and self._by_name[name].deterministic for name, _ in _makers(manifest))

    def _specific(self, kind: type) -> Materializer | None:
        found = (self._by_type.get(type_name(base)) for base in kind.__mro__)
        return next(filter(None, found), None)


def options_of(materializer: Materializer) -> tuple[str, ...]:
    """What a materializer can be asked for a part of a value with: its keyword-only parameters."""
    parameters = inspect.signature(materializer.load).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


def _check_options(options: Iterable[str], known: tuple[str, ...], what: str) -> None:
    """Refuse to load in part what can only be loaded whole.

    Raises:
        MaterializerError: Names the options that are not known, and those that are.
    """
    unknown = ", ".join(f"{name}=" for name in options if name not in known)
    if unknown:
        instead = f"It can be by {', '.join(f'{name}=' for name in known)}." if known else "Load it whole."
        raise MaterializerError(f"There is no loading by {unknown} of {what}. {instead}")


def _makers(manifest: Manifest) -> set[tuple[str, int]]:
    """Names and versions of the materializers behind a manifest."""
    return {manifest.maker, *manifest.inside} - {(parts.NAME, parts.VERSION)}


def _refusal(kind: type, refused: list[str]) -> MaterializerError:
    nobody = " No plugin has a materializer for it, and" if len(refused) == 1 else " Pickle could, but"
    return MaterializerError(
        f"A value of type {described(kind)} cannot be stored here: {refused[0]}{nobody} this workspace forbids pickle."
        f"{providing(type_name=type_name(kind))} Ways out: return plain data; install a plugin for the type; write a "
        "materializer (hook drystone_materializers); or declare the output Artifact(allow_pickle=True)."
    )
