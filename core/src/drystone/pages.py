"""What a notebook shows of runs, plans and graphs: a page of HTML that runs no script and loads nothing.

Its text has the colour of the page it stands in, and its other colours can be seen on white and on black. All that a
colour says is said in words as well, and all that is drawn stands in a table, too.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drystone.annotations import abbreviated
from drystone.drawings import Box, Markup, drawn, tag
from drystone.graphs import Graph
from drystone.runs import (
    CACHED,
    CANCELLED,
    CRASHED,
    FAILED,
    MAYBE,
    PENDING,
    RUN,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    Plan,
    Run,
    StepPlan,
    StepRun,
    headline,
    span,
)

DRAWN, LINES, LISTED = 200, 1000, 500
"""Of how many steps, with how many lines between them, a graph is drawn; and how many steps a table lists."""

LOOKS = {
    SUCCEEDED: ("✓", "#2f9e56"),
    CACHED: ("↺", "#1d91b5"),
    RUNNING: ("…", "#4a83e6"),
    FAILED: ("✗", "#df4a4f"),
    CRASHED: ("✗", "#df4a4f"),
    CANCELLED: ("⊘", "#c07f12"),
    RUN: ("●", "#c07f12"),
    MAYBE: ("?", "#a468cf"),
    SKIPPED: ("○", "#8a8a8a"),
    PENDING: ("·", "#8a8a8a"),
}
"""The sign and the colour of each status."""

DASHED = (SKIPPED, PENDING, MAYBE, CANCELLED)

URGENT = (FAILED, CRASHED, RUNNING, RUN, MAYBE)
"""What is shown where not all can be."""

CELL = "text-align: left; vertical-align: top; padding: 2px 14px 2px 0; font-weight: "
SCROLLED = "overflow: auto; max-height: 36rem; margin: 8px 0"
TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 8px; font-size: 12px; line-height: 1.4"


def of_run(run: Run) -> str:
    """The page of a run: its graph as a drawing, its errors, its outputs, and its steps as a table."""
    took = f" in {span(run.seconds)}" if run.seconds is not None else ""
    since = f"since {run.started_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    versions = [f"model version {run.model_version}"] if run.model_version is not None else []
    steps = run.steps.values()
    return _page(
        _title(run.name, run.status, [f"{took} on stack {run.stack}", since, *versions, _counted(steps)]),
        _graph([_box(step.name, step.status, _told(step)) for step in steps], run.upstream, f"The run {run.name}"),
        *_errors(run),
        _outputs(run),
        _steps(steps, run.upstream),
        _facts("Parameters", run.parameters),
        _facts("Tags", run.tags),
        _facts("Metadata", run.metadata),
    )


def of_plan(plan: Plan) -> str:
    """The page of a plan: its graph as a drawing, and why each step runs."""
    steps, upstream = plan.steps.values(), plan.upstream
    takes = [f"takes about {span(plan.seconds)}"] if plan.seconds is not None else []
    rows = [(each.name, _planned(each), _causes(each), _after(each.name, upstream)) for each in _few(steps)]
    return _page(
        _title(f"Plan of {plan.pipeline}", "", [f" on stack {plan.stack}", _counted(steps), *takes]),
        _graph([_box(step.name, step.status, _reason(step)) for step in steps], upstream, "The plan"),
        _table("Steps", ("step", "status", "why", "after"), rows, len(steps), is_open=True),
    )


def of_graph(graph: Graph) -> str:
    """The page of a graph: its drawing, and its nodes as a table."""
    nodes, upstream = graph.nodes.values(), graph.upstream
    boxes = [Box(name=node.name, text=" ".join(node.bindings)) for node in nodes]
    rows = [(node.name, _after(node.name, upstream), ", ".join(node.bindings)) for node in [*nodes][:LISTED]]
    return _page(
        _title(graph.pipeline, "", [f": {len(nodes)} steps"]),
        _graph(boxes, upstream, f"The graph of {graph.pipeline}"),
        _table("Steps", ("step", "after", "parameters"), rows, len(nodes)),
    )


def _page(*parts: str) -> str:
    return str(tag("div", *parts, style="font-family: system-ui, sans-serif; font-size: 13px; line-height: 1.5"))


def _title(name: str, status: str, facts: Iterable[str]) -> Markup:
    mark, color = LOOKS.get(status, ("", ""))
    badge = [" ", tag("span", f"{mark} {status}", style=f"border-left: 4px solid {color}; padding-left: 6px")]
    return tag("div", tag("strong", name, style="font-size: 15px"), *(badge if status else []), " · ".join(facts))


def _counted(steps: Iterable[StepRun | StepPlan]) -> str:
    """How many steps have which status: `3 succeeded, 2 cached`."""
    return _listed(Counter(step.status for step in steps))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _graph(boxes: Sequence[Box], upstream: Mapping[str, Iterable[str]], what: str) -> Markup:
    """A drawing, or for a large graph a sentence."""
    lines = sum(len([*before]) for before in upstream.values())
    if len(boxes) > DRAWN or lines > LINES:
        return tag("p", f"{len(boxes)} steps with {lines} lines between them are too many for a drawing.")
    told = "; ".join(f"{box.name} {box.text}{_behind(box.name, upstream)}" for box in boxes)
    return tag("div", drawn(boxes, upstream, f"{what}: {told}"), style=SCROLLED, tabindex=0)


def _behind(name: str, upstream: Mapping[str, Iterable[str]]) -> str:
    return f", after {', '.join(upstream[name])}" if name in upstream else ""


def _box(name: str, status: str, text: str) -> Box:
    mark, color = LOOKS.get(status, ("", "gray"))
    return Box(name=name, mark=mark, text=text, color=color, dashed=status in DASHED)


def _told(step: StepRun) -> str:
    if not step.counts:
        return step.outcome
    counted = f": {_listed(step.counts)}" if len(step.counts) > 1 else ""
    return f"{step.outcome}, {sum(step.counts.values())} elements{counted}"


def _planned(step: StepPlan) -> str:
    return next(step.lines())


def _reason(step: StepPlan) -> str:
    source = f" from {step.cached_from}" if step.cached_from else ""
    return ": ".join([f"{step.status}{source}", *(cause.text for cause in step.causes[:1])])


def _few(steps: Iterable[Any]) -> list[Any]:
    """Steps in their order; of too many those that ask for attention, and then the first ones."""
    urgent = sorted(enumerate(steps), key=lambda each: (each[1].status not in URGENT, each[0]))
    return [step for _, step in sorted(urgent[:LISTED], key=lambda each: each[0])]


def _after(name: str, upstream: Mapping[str, Iterable[str]]) -> str:
    return ", ".join(upstream.get(name, ()))


def _errors(run: Run) -> list[Markup]:
    """What went wrong, with the tracebacks of steps folded."""
    failed = [step for step in run.steps.values() if step.status == FAILED and step.error]
    shown = [_folded(f"✗ {each.name}: {headline(each.error or '')}", _text(each.error or "")) for each in failed[:20]]
    return [tag("p", run.error), *shown] if run.error and not failed else shown


def _outputs(run: Run) -> Markup:
    rows = [
        (name, str(made), made.manifest.type.rpartition(".")[2], _size(made.size)) for name, made in run.outputs.items()
    ]
    return _table("Outputs", ("output", "artifact", "type", "size"), rows, len(rows), is_open=True)


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _steps(steps: Iterable[StepRun], upstream: Mapping[str, Iterable[str]]) -> Markup:
    listed = [*steps]
    rows = [
        (each.name, _told(each), _after(each.name, upstream), ", ".join(map(str, each.outputs.values())))
        for each in _few(listed)
    ]
    return _table("Steps", ("step", "status", "after", "outputs"), rows, len(listed))


def _causes(step: StepPlan) -> Markup:
    """Why a step runs, or does not: its first cause, and where there is more to say that folded below."""
    _, *lines = step.lines()
    return _folded(lines[0], _text(*map(_line, lines))) if lines[1:] else Markup(html.escape("".join(lines)))


def _line(line: str) -> Markup:
    """A line of a cause; of a difference of code in the colour of what it does."""
    color = {"+": LOOKS[SUCCEEDED][1], "-": LOOKS[FAILED][1]}.get(line.lstrip()[:1], "")
    style = {"style": f"border-left: 3px solid {color}; padding-left: 4px"} if color and line[:1] == " " else {}
    return tag("span", f"{line}\n", **style)


def _facts(title: str, values: Mapping[str, Any]) -> Markup:
    rows = [(name, value if isinstance(value, str) else abbreviated(value)) for name, value in values.items()]
    return _table(title, ("name", "value"), rows, len(rows))


def _table(
    title: str, titles: Sequence[str], rows: Iterable[Sequence[str]], count: int, *, is_open: bool = False
) -> Markup:
    """A table, folded below its title; nothing if it has no rows."""
    shown = [tag("tr", *(tag("td", cell, style=f"{CELL}normal") for cell in row)) for row in rows]
    if not shown:
        return Markup()
    head = tag("tr", *(tag("th", each, scope="col", style=f"{CELL}600") for each in titles))
    more = f"{title} ({count}{f', of which {len(shown)} are listed' if count > len(shown) else ''})"
    table = tag("table", tag("thead", head), tag("tbody", *shown), style="border-collapse: collapse; margin: 4px 0")
    return _folded(more, tag("div", table, style=SCROLLED), is_open=is_open)


def _folded(summary: str, content: Markup, *, is_open: bool = False) -> Markup:
    return tag("details", tag("summary", summary), content, **({"open": ""} if is_open else {}))


def _text(*parts: str) -> Markup:
    return tag("pre", *parts, style=TEXT)
