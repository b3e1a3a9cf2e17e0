"""The artifact stores within reach of a workspace: those of the stacks that are defined where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from drystone.artifact_stores import MAPPING, ArtifactStore
from drystone.choices import Stacks
from drystone.components import Place
from drystone.errors import DrystoneError, NotFoundError, WorkspaceError
from drystone.plugins import load_plugins
from drystone.publications import PublishedStack


def is_shared(identity: str) -> bool:
    """Whether other machines can reach the store of an identity: then that is a URL, else the id of a directory."""
    return "://" in identity


def out_of_reach(identities: Sequence[str]) -> str:
    """That no stack here uses any of some stores."""
    return f"The artifact store {' or '.join(identities)} is out of reach: no stack that is defined here uses it."


ELSEWHERE = (
    "If it is another machine's, read the artifact there, let `drystone artifacts push` there bring it to a store that "
    "all can reach, or run the pipeline here."
)


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
            raise NotFoundError(f"{out_of_reach([identity])} Within reach: {known}. {ELSEWHERE}")
        return self._known[identity]

    def reached(self, identities: Sequence[str], place: Place) -> Iterator[ArtifactStore]:
        """Those of some identities that are within reach, the ones on this machine first; after them all others."""
        if any(each not in self._known for each in identities):
            self._bind_those_of(place)
        named = {each: self._known[each] for each in identities if each in self._known}
        yield from sorted(named.values(), key=lambda store: MAPPING not in store.capabilities)
        self._bind_those_of(place)
        yield from [store for identity, store in self._known.items() if identity not in named]

    def _bind_those_of(self, place: Place) -> None:
        stacks = Stacks(place.root, load_plugins(), self._published)
        try:
            names = stacks.names
        except WorkspaceError:  # what is damaged publishes nothing, and is to be verified all the same
            return
        for name in names:
            try:
                store = stacks.get(name).at(place).artifact_store
                self._known.setdefault(store.identity, store)  # what was bound keeps its connections
            except DrystoneError:  # a stack that cannot be used here has nothing to read from
                continue
