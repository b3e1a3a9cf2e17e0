"""skops archives, rewritten so that equal estimators give equal bytes.

As skops writes them, two archives of one estimator differ: members carry the time and are named after addresses in
memory, nodes carry these addresses too, sets come in the order of the hash seed, functions of numpy are named after
whichever module was imported first, and trees hold uninitialised bytes between their fields.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from drystone_data.arrays import header, pieces

SCHEMA = "schema.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can hold, and the only one these hold."""

IMMUTABLE = {"JsonNode", "TypeNode", "FunctionNode", "BytesNode"}
"""Loaders of values that nobody can tell apart from a copy: whether they are shared is chance."""

NUMPY_MODULES = ("numpy", "scipy.special")


def rewritten(data: bytes) -> bytes:
    """An archive with the same content, the same for equal content."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name: _member(archive, name) for name in archive.namelist() if name != SCHEMA}
        schema = json.loads(archive.read(SCHEMA))
    rewriter = _Rewriter(schema, {old: new for old, (new, _) in names.items()})
    members = dict(names.values())
    members[SCHEMA] = json.dumps(rewriter.schema(), separators=(",", ":")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(members):
            target.writestr(zipfile.ZipInfo(name, EPOCH), members[name])
    return buffer.getvalue()


def _member(archive: zipfile.ZipFile, name: str) -> tuple[str, bytes]:
    """A member's content, cleaned, and its new name: the digest of the content."""
    content = archive.read(name)
    suffix = name[name.rfind(".") :]
    if suffix == ".npy":
        content = _clean(content)
    return f"{hashlib.blake2b(content, digest_size=16).hexdigest()}{suffix}", content


def _clean(content: bytes) -> bytes:
    """A structured array with zeros between its fields; other arrays as they are."""
    import numpy

    array = numpy.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    return b"".join((header(array), *pieces(array)))


def nodes(state: Any) -> Iterator[dict[str, Any]]:
    """Every node of a schema, from the root down."""
    if isinstance(state, dict):
        if "__loader__" in state:
            yield state
        for value in state.values():
            yield from nodes(value)
    elif isinstance(state, list):
        for value in state:
            yield from nodes(value)


def partial_functions(data: bytes) -> list[str]:
    """The full names of functions in `functools.partial` objects of an archive; of a method or a class, its loader."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = [node for node in nodes(json.loads(archive.read(SCHEMA))) if node["__loader__"] == "PartialNode"]
    inner = [node["content"]["func"] for node in found]
    return [
        f"{node['__module__']}.{node['__class__']}" if node["__loader__"] == "FunctionNode" else node["__loader__"]
        for node in inner
    ]


class _Rewriter:
    """Rewrites one schema: names of members, identities, sets, functions."""

    def __init__(self, schema: dict[str, Any], names: dict[str, str]) -> None:
        self._schema = schema
        self._names = names
        found = Counter(node.get("__id__") for node in nodes(schema) if node["__loader__"] not in IMMUTABLE)
        self._shared = {identity for identity, count in found.items() if count > 1}
        self._numbers: dict[int, int] = {}

    def schema(self) -> Any:
        return self._numbered(self._renamed(self._schema))

    def _renamed(self, state: Any) -> Any:
        if isinstance(state, list):
            return [self._renamed(item) for item in state]
        if not isinstance(state, dict):
            return state
        made = {key: self._renamed(value) for key, value in state.items()}
        return self._node(made) if "__loader__" in made else made

    def _node(self, node: dict[str, Any]) -> dict[str, Any]:
        loader = node["__loader__"]
        if node.get("__id__") not in self._shared or loader in IMMUTABLE:
            node.pop("__id__", None)
        if isinstance(node.get("file"), str):
            node["file"] = self._names[node["file"]]
        if loader == "SetNode":
            node["content"] = sorted(node["content"], key=json.dumps)
        if loader == "ConstructorFromReduceNode" and node["__class__"] == "frozenset":
            arguments = node["content"]["content"][0]
            arguments["content"] = sorted(arguments["content"], key=json.dumps)
        if loader == "FunctionNode":
            node["__module__"] = public_module(node["__module__"], node["__class__"])
        return node

    def _numbered(self, state: Any) -> Any:
        """Identities that matter, counted from 1 in the order they appear."""
        for node in nodes(state):
            if "__id__" in node:
                node["__id__"] = self._numbers.setdefault(node["__id__"], len(self._numbers) + 1)
        return state


def public_module(module: str, name: str) -> str:
    """Where a function of numpy is public, which no order of imports changes; other functions stay where they are."""
    found = getattr(sys.modules.get(module), name, None)
    for public in NUMPY_MODULES:
        if module.startswith(public.partition(".")[0]) and getattr(import_module(public), name, None) is found:
            return public
    return module
