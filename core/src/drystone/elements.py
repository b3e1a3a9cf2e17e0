"""The elements of one map whose lists are known: each is a node of its own, with its own key and its own result."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from drystone import fans, parts
from drystone.artifacts import Artifact, Manifest
from drystone.errors import MaterializerError, PipelineDefinitionError
from drystone.filesystems import FsspecArtifactStore
from drystone.graphs import Binding, Lookup, Node, OutputRef, Part, Value, members
from drystone.hits import Decision, Hits
from drystone.materializers import JSONMaterializer


class Elements:
    """The elements of a map, in their order.

    Args:
        hits: Decides about each.
        node: The map.
        made: What the nodes before it made.

    Raises:
        MaterializerError: Something that is mapped over is no list.
        PipelineDefinitionError: The lists' lengths differ.
        BlobLostError: A list cannot be read.
    """

    def __init__(self, hits: Hits, node: Node, made: Mapping[OutputRef, Manifest]) -> None:
        self.node = node
        self._hits = hits
        self._made = made
        self._lists = {name: self._members(name, node.bindings[name]) for name in node.mapped}
        self._lengths = {name: len(each) for name, each in self._lists.items()}
        problem = fans.mismatch(node.fan, self._lengths)
        if problem is not None:
            raise PipelineDefinitionError(f"Step {node.name!r} {problem}")
        shared = {name: each for name, each in node.bindings.items() if name not in node.mapped}
        self._shared = hits.arguments(shared, made)

    def __len__(self) -> int:
        return fans.count(self.node.fan, self._lengths)

    def __iter__(self) -> Iterator[Node]:
        for index, places in enumerate(fans.places(self.node.fan, self._lengths)):
            own = {name: self._lists[name][place] for name, place in places.items()}
            yield attrs.evolve(
                self.node,
                name=fans.element_name(self.node.name, index),
                bindings={**self.node.bindings, **own},
                mapped=(),
                of=(self.node.name, index),
            )

    def decide(self, element: Node) -> Decision:
        """Whether a stored result fits an element; what all have in common has been looked at once."""
        own = {name: element.bindings[name] for name in self.node.mapped}
        return self._hits.decide(element, self._made, self._shared | self._hits.arguments(own, self._made))

    def _members(self, name: str, binding: Binding) -> Sequence[Binding]:
        if not isinstance(binding, OutputRef | Lookup):
            return members(binding)
        manifest = self._hits.manifest(binding, self._made)
        if manifest.materializer == parts.NAME:
            return [Part(*each) for each in enumerate(self._hits.holdings.parts(manifest))]
        return self._whole(name, manifest)

    def _whole(self, name: str, manifest: Manifest) -> Sequence[Binding]:
        """The members of a list that was stored as a whole, before this run."""
        value: Any = self._hits.holdings.load(manifest) if manifest.type in parts.TYPES else None
        if not isinstance(value, list | tuple):
            raise MaterializerError(
                f"Step {self.node.name!r} maps over {name!r}, which is no list: what is stored there is of type "
                f"{manifest.type}."
            )
        if manifest.materializer == JSONMaterializer.name:  # so its members are plain as well
            return [Value(each) for each in value]
        declared = Artifact(trusted=manifest.trusted, allow_pickle=manifest.allow_pickle)
        save = self._hits.workspace.materializers.save_parts
        with tempfile.TemporaryDirectory() as scratch:  # for plans, which leave nothing behind
            store = self._hits.store if self._hits.copies else FsspecArtifactStore(url=f"file://{scratch}")
            return [Part(*each) for each in enumerate(parts.split(save(value, declared, store)[0], store))]
