"""The artifact stores within reach of a workspace: those of the stacks that are defined where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from drystone.choices import Stacks
from drystone.components import Place
from drystone.errors import DrystoneError, NotFoundError
from drystone.kinds import ArtifactStore
from drystone.plugins import load_plugins
from drystone.publications import PublishedStack


class Stores:
    """Artifact stores, by what tells them from each other."""

    def __init__(self, published: Callable[[], Iterable[PublishedStack]]) -> None:
        self._known: dict[str, ArtifactStore] = {}
        self._published = published

    def bind(self, store: ArtifactStore) -> None:
        """Make a store known."""
        self._known[store.identity] = store

    def active(self, place: Place) -> ArtifactStore:
        """The store of the stack that is active in a place."""
        store = Stacks(place.root, load_plugins(), self._published).active().at(place).artifact_store
        self.bind(store)
        return store

    def found(self, identity: str, place: Place) -> ArtifactStore:
        """The store of this identity.

        Raises:
            NotFoundError: No stack that is defined in the place has it.
        """
        if identity not in self._known:
            self._bind_those_of(place)
        if identity not in self._known:
            known = ", ".join(self._known) or "none"
            raise NotFoundError(
                f"The artifact store {identity} is out of reach: no stack that is defined here uses it. Within reach: "
                f"{known}. If it is another machine's, read the artifact there, or run the pipeline here."
            )
        return self._known[identity]

    def _bind_those_of(self, place: Place) -> None:
        stacks = Stacks(place.root, load_plugins(), self._published)
        for name in stacks.names:
            try:
                self.bind(stacks.get(name).at(place).artifact_store)
            except DrystoneError:  # a stack that cannot be used here has nothing to read from
                continue
