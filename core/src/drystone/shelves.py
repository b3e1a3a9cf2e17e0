"""The shelf: stacks that a workspace keeps for everybody who uses it, with their earlier versions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from drystone.documents import Document
from drystone.errors import StackNotFoundError, suggestion
from drystone.events import Event
from drystone.index import Index
from drystone.publications import PublishedStack, packed
from drystone.queries import Queries
from drystone.serialization import structure
from drystone.stack_events import StackPublished, StackUnpublished
from drystone.stacks import Stack


class Shelf(Queries, ABC):
    """The published stacks of a workspace."""

    @abstractmethod
    def commit(self, decide: Callable[[Index], Sequence[Event]]) -> Any:
        """Add events to the ledger, all or none."""

    def publish(self, stack: Stack) -> PublishedStack:
        """Make a stack usable by its name for everybody who uses this workspace, without the file that defines it.

        Secrets stay references, and relative paths relative to the project of whoever uses it. Published again, it
        gets a new version; if nothing is different, nothing happens.

        Raises:
            StackError: Others could not use it, or it holds what must stay secret; all problems are listed.
        """
        components = packed(stack)

        def decide(view: Index) -> list[Event]:
            last = view.select("stack", {"parent": stack.name}, limit=1)
            if last and last[0]["components"] == components:
                return []
            number = view.next_number("stack", stack.name)
            return [StackPublished(name=stack.name, number=number, components=components)]

        self.commit(decide)
        return self.stack_history(stack.name)[0]

    def unpublish(self, name: str) -> PublishedStack:
        """Withdraw a published stack; its versions stay in its history, and it can be published again.

        Raises:
            StackNotFoundError: No stack of that name is published.
        """

        def decide(view: Index) -> list[Event]:
            if name not in (published := [each["name"] for each in _newest(view)]):
                hint = suggestion(name, published, "Published stacks")
                raise StackNotFoundError(f"No stack {name!r} is published in this workspace.{hint}")
            return [StackUnpublished(name=name, number=view.next_number("stack", name))]

        self.commit(decide)
        return self.stack_history(name)[0]

    def published(self) -> list[PublishedStack]:
        """The stacks that are published now, each in its newest version, by name."""
        with self.reading() as records:
            return [structure(each, PublishedStack) for each in _newest(records.index)]

    def stack_history(self, name: str) -> list[PublishedStack]:
        """Every version of a published stack, the newest first."""
        with self.reading() as records:
            return [structure(each, PublishedStack) for each in records.index.select("stack", {"parent": name})]


def _newest(view: Index) -> list[Document]:
    found: dict[str, Document] = {}
    for each in view.select("stack"):
        found.setdefault(each["name"], each)
    return [found[name] for name in sorted(found) if found[name]["components"] is not None]
