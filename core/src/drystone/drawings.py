"""Graphs as drawings: a layered layout, and SVG that needs no script, no style sheet and no colour of the page."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import attrs

WIDTH, HEIGHT, GAP, RISE = 190, 46, 22, 34
"""Pixels: a box's width and height, and the least distance to the next one in its layer and in the next layer."""

LETTERS = (22, 28)
"""How many letters of the first and of the second line fit into a box."""

SWEEPS = 4
"""How often the layers are put in order and place, once down and once up each time."""


class Markup(str):
    """Text that is HTML already; any other is escaped by `tag`."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element of HTML or SVG; `_` in names of attributes stands for `-`."""
    given = "".join(f' {key.replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items())
    inside = "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    return Markup(f"<{name}{given}>{inside}</{name}>")


@attrs.frozen(kw_only=True)
class Box:
    """What is drawn for one node.

    Attributes:
        mark: A sign before the name, which tells apart without colours.
        text: The second line.
        color: Of the frame; one that can be seen on white and on black.
        dashed: Whether the frame is dashed.
    """

    name: str
    mark: str = ""
    text: str = ""
    color: str = "gray"
    dashed: bool = False


Point = tuple[str, int]
"""A place in a layer: a node, with 0, or where lines from a node pass its n-th layer below, with n."""


def drawn(boxes: Sequence[Box], upstream: Mapping[str, Iterable[str]], label: str) -> Markup:
    """A drawing of a graph, from top to bottom.

    Args:
        boxes: The nodes, each after those that it depends on.
        upstream: Which those are, by name; what is no node before it is left out.
        label: Says in words what is drawn, for those who do not see it.
    """
    layout = Layout([box.name for box in boxes], upstream)
    lines, heads = "".join(map(_line, layout.lines)), "".join(_head(*layout.place((name, 0))) for name in layout.ends)
    faint = {"stroke": "currentColor", "stroke_opacity": 0.5}
    return tag(
        "svg",
        tag("path", d=lines, fill="none", stroke_width=1.5, **faint),
        tag("path", d=heads, fill="currentColor", fill_opacity=0.5),
        *(_box(box, *layout.place((box.name, 0))) for box in boxes),
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        aria_label=label,
        width=round(layout.width),
        height=layout.height,
        style="max-width: none; font-family: system-ui, sans-serif; display: block",
    )


def _box(box: Box, middle: float, top: float) -> Markup:
    dashes = {"stroke_dasharray": "5 3"} if box.dashed else {}
    frame = tag(
        "rect", x=1, y=1, width=WIDTH - 2, height=HEIGHT - 2, rx=7, fill=box.color, fill_opacity=0.14,
        stroke=box.color, stroke_width=1.5, **dashes,
    )  # fmt: skip
    first = tag("text", _short(f"{box.mark} {box.name}".strip(), LETTERS[0]), x=10, y=19, font_size=13, font_weight=600)
    second = tag("text", _short(box.text, LETTERS[1]), x=10, y=36, font_size=11)
    about = tag("title", f"{box.name}: {box.text}" if box.text else box.name)
    place = {"x": f"{middle - WIDTH / 2:.0f}", "y": f"{top:.0f}"}
    return tag("svg", about, frame, first, second, **place, width=WIDTH, height=HEIGHT, fill="currentColor")


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _line(points: Sequence[tuple[float, float]]) -> str:
    """A curve that leaves a box at the bottom, passes layers straight down, and comes to a box from above."""
    parts: list[str] = []
    for (x, y), (to_x, to_y) in pairwise(points):
        y, bend = y + HEIGHT, RISE * 0.6
        start = f"M{x:.0f} {y:.0f}" if not parts else f"V{y:.0f}"
        parts.append(f"{start}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}")
    return "".join(parts)


def _head(x: float, y: float) -> str:
    return f"M{x - 4:.0f} {y - 7:.0f}h8l-4 7z"


class Layout:
    """Where the boxes of a graph stand, and where the lines between them run.

    Each node is in the layer below the lowest of those that it depends on. A line across layers gets a point in each,
    which lines from the same node share. Points are put in order, and then as near as possible to those they are
    connected with.
    """

    def __init__(self, names: Sequence[str], upstream: Mapping[str, Iterable[str]]) -> None:
        self._depths: dict[str, int] = {}
        self._edges: list[tuple[str, str]] = []
        for name in names:
            known = [each for each in dict.fromkeys(upstream.get(name, ())) if each in self._depths]
            self._edges += [(each, name) for each in known]
            self._depths[name] = max((self._depths[each] + 1 for each in known), default=0)
        self._paths = [self._path(*edge) for edge in self._edges]
        steps = dict.fromkeys(pair for path in self._paths for pair in pairwise(path))
        self._above, self._below = defaultdict[Point, list[Point]](list), defaultdict[Point, list[Point]](list)
        for upper, lower in steps:
            self._above[lower].append(upper)
            self._below[upper].append(lower)
        self._layers = self._layered(names)
        self._x: dict[Point, float] = {}
        self._arrange()

    def _path(self, upper: str, lower: str) -> list[Point]:
        passed = self._depths[lower] - self._depths[upper]
        return [*((upper, layer) for layer in range(passed)), (lower, 0)]

    def _layered(self, names: Sequence[str]) -> list[list[Point]]:
        points = dict.fromkeys([*((name, 0) for name in names), *(point for path in self._paths for point in path)])
        layers: list[list[Point]] = [[] for _ in range(max(self._depths.values(), default=-1) + 1)]
        for name, layer in points:
            layers[self._depths[name] + layer].append((name, layer))
        return layers

    def _arrange(self) -> None:
        for layer in self._layers:
            self._put(layer, [0.0] * len(layer))
        directions = [(self._layers, self._above), (self._layers[::-1], self._below)]
        for ordered in (True, False):
            for layers, neighbours in directions * SWEEPS:
                for layer in layers:
                    wanted = {point: self._mean(point, neighbours) for point in layer}
                    if ordered:
                        layer.sort(key=wanted.__getitem__)
                    self._put(layer, [wanted[point] for point in layer])
        left = min((self._x[point] - _width(point) / 2 for point in self._x), default=0.0)
        self._x = {point: x - left for point, x in self._x.items()}

    def _mean(self, point: Point, neighbours: Mapping[Point, list[Point]]) -> float:
        places = [self._x[each] for each in neighbours.get(point, ())]
        return sum(places) / len(places) if places else self._x[point]

    def _put(self, layer: list[Point], wanted: list[float]) -> None:
        """Place points where they are wanted, or as far from there as those beside them need; in their order."""
        apart = [(_width(one) + _width(other)) / 2 + GAP for one, other in pairwise(layer)]
        to_the_right, to_the_left = [*wanted], [*wanted]
        for at, distance in enumerate(apart):
            to_the_right[at + 1] = max(wanted[at + 1], to_the_right[at] + distance)
        for at, distance in reversed([*enumerate(apart)]):
            to_the_left[at] = min(wanted[at], to_the_left[at + 1] - distance)
        middles = ((one + other) / 2 for one, other in zip(to_the_right, to_the_left, strict=True))
        self._x.update(zip(layer, middles, strict=True))

    def place(self, point: Point) -> tuple[float, float]:
        """The middle of a point from left to right, and its top."""
        return self._x[point], (self._depths[point[0]] + point[1]) * (HEIGHT + RISE)

    @property
    def lines(self) -> list[list[tuple[float, float]]]:
        """For each edge the points that it runs through."""
        return [[self.place(point) for point in path] for path in self._paths]

    @property
    def ends(self) -> list[str]:
        """The nodes that lines lead to."""
        return [*dict.fromkeys(lower for _, lower in self._edges)]

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return max((x + _width(point) / 2 for point, x in self._x.items()), default=0.0)

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return max(0, len(self._layers) * (HEIGHT + RISE) - RISE)


def _width(point: Point) -> int:
    return 1 if point[1] else WIDTH
