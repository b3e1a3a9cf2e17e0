"""A graph beside a list of its nodes: one row each, with lines from what a node depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

NODE = "●"


@attrs.frozen
class Row:
    """What stands before the name of a node: lanes of two letters, and in which of them the node is."""

    text: str
    lane: int

    @property
    def before(self) -> str:
        """What stands left of the node."""
        return self.text[: 2 * self.lane]

    @property
    def behind(self) -> str:
        """What stands right of the node."""
        return self.text[2 * self.lane + 1 :]


def rows(names: Sequence[str], upstream: Mapping[str, Iterable[str]]) -> list[Row]:
    """The rows of a graph, all of the same width.

    A lane leads down from a node until the last that depends on it. It is free for another one then.

    Args:
        names: The nodes, each after those that it depends on.
        upstream: Which those are, by name; what is no node is left out.
    """
    known = set(names)
    before = {name: known.intersection(upstream.get(name, ())) for name in names}
    waiting = Counter(each for needed in before.values() for each in needed)
    lanes: list[str | None] = []
    found = []
    for name in names:
        waiting.subtract(before[name])
        joined = {at: waiting[each] == 0 for at, each in enumerate(lanes) if each in before[name]}
        own = _lane(lanes, joined)
        found.append((_row(lanes, joined, own), own))
        for at, is_last in joined.items():
            lanes[at] = None if is_last else lanes[at]
        lanes[own] = name if waiting[name] else None
        while lanes and lanes[-1] is None:
            lanes.pop()
    width = max((len(text) for text, _ in found), default=0)
    return [Row(f"{text:<{width}} ", own) for text, own in found]


def _lane(lanes: list[str | None], joined: Mapping[int, bool]) -> int:
    """The lane of a new node: one that ends in it, or else one that is free."""
    ending = [at for at, is_last in joined.items() if is_last]
    if ending:
        return ending[0]
    free = next((at for at, each in enumerate(lanes) if each is None), len(lanes))
    if free == len(lanes):
        lanes.append(None)
    return free


def _row(lanes: Sequence[str | None], joined: Mapping[int, bool], own: int) -> str:
    left, right = min([own, *joined]), max([own, *joined])
    cells = []
    for at, each in enumerate(lanes):
        if at == own:
            letter = NODE
        elif at in joined:
            letter = _joint(at, left, right, is_last=joined[at])
        elif each is not None:
            letter = "│"
        else:
            letter = "─" if left < at < right else " "
        cells.append(f"{letter}{'─' if left <= at < right else ' '}")
    return "".join(cells).rstrip()


def _joint(at: int, left: int, right: int, *, is_last: bool) -> str:
    """How a lane meets the line to a node: it may end there or go on, at either end of the line or between."""
    if at == left:
        return "╰" if is_last else "├"
    if at == right:
        return "╯" if is_last else "┤"
    return "┴" if is_last else "┼"
