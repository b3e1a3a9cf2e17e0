"""Single flight: of steps that would make the same result at once, one computes and the others wait for it."""

from __future__ import annotations

import time

from drystone.graphs import Node
from drystone.hits import Decision
from drystone.workspaces import Workspace

LOOKS = 2
"""How often others are looked at for what they are making, in the time that the workspace sets the pace with."""


class Flights:
    """The results that steps of one run make or wait for, by cache key."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._waiting: dict[str, list[Node]] = {}
        self._keys: dict[str, str] = {}
        self._elsewhere: list[tuple[Node, str]] = []
        self._looked_at = 0.0
        self._landed: set[str] = set()

    @property
    def wait_for_others(self) -> bool:
        """Whether a step waits for what another run is making."""
        return bool(self._elsewhere)

    def is_uncommitted(self, decision: Decision) -> bool:
        """Whether this run has made the result, but where nobody can find it before it is committed."""
        return decision.cached is None and decision.is_shareable and decision.key in self._landed

    def joined(self, node: Node, decision: Decision) -> bool:
        """Let a step wait for another one of this run, if that makes the same result now."""
        if decision.key is None or not decision.is_shareable or decision.key not in self._waiting:
            return False
        self._waiting[decision.key].append(node)
        return True

    def begin(self, node: Node, decision: Decision) -> None:
        """A step starts to make its result."""
        if decision.key is not None:
            self._keys[node.name] = decision.key
            self._waiting.setdefault(decision.key, [])

    def land(self, node: Node) -> list[Node]:
        """A step has ended; returns the steps that waited for it, to be decided again."""
        key = self._keys.pop(node.name, None)
        if key is None:
            return []
        self._landed.add(key)
        return self._waiting.pop(key, [])

    def committed(self) -> None:
        """Everything that was made so far can be found."""
        self._landed.clear()

    def wait(self, node: Node, decision: Decision) -> None:
        """Let a step wait for another run, which makes the same result now."""
        self._elsewhere.append((node, decision.key or ""))

    def released(self, *, all_of_them: bool = False) -> list[Node]:
        """The steps that need not wait for another run any more: it is done, has failed or died."""
        now = time.monotonic()
        if not self._elsewhere or (not all_of_them and now - self._looked_at < self._workspace.pace / LOOKS):
            return []
        self._looked_at = now
        self._workspace.mark_crashed()
        with self._workspace.reading() as records:
            taken = [each for each in self._elsewhere if records.index.is_being_made(each[1]) and not all_of_them]
        free = [node for node, key in self._elsewhere if (node, key) not in taken]
        self._elsewhere = taken
        return free
