"""A page about the stacks of a project and what its pipelines need of them, in Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from drystone.annotations import abbreviated
from drystone.capabilities import unmet
from drystone.choices import Stacks
from drystone.components import StackComponent, setting_to_json, settings_of
from drystone.errors import DrystoneError
from drystone.graphs import Graph, Node
from drystone.pipelines import Pipeline
from drystone.placements import placements
from drystone.preparation import obstacles
from drystone.stacks import Stack
from drystone.workspaces import Workspace


def stacks_page(found: Stacks, pipelines: Iterable[Pipeline[Any, Any]] = (), workspace: Workspace | None = None) -> str:
    """Every stack, component and setting, and of each pipeline its graph, what it needs, and which stacks can run it.

    Args:
        found: The stacks.
        pipelines: To be described as well; each is built with its default parameters.
        workspace: Where they would run; the current one by default.
    """
    stacks: dict[str, Stack | str] = {}
    for name in found.names:
        try:
            stacks[name] = found.get(name)
        except DrystoneError as exc:
            stacks[name] = str(exc)
    lines = ["# Stacks", ""]
    for name, stack in stacks.items():
        lines += [f"## {name}", "", f"Defined in {_code(found.source(name))}.", "", *_of_stack(stack)]
    described = [*pipelines]
    if described:
        home = workspace or Workspace.current()
        lines += ["# Pipelines", ""]
        for each in described:
            lines += [f"## {each.name}", "", *_of_pipeline(each, stacks, home)]
    return "\n".join(lines).rstrip() + "\n"


def _of_stack(stack: Stack | str) -> Iterator[str]:
    if isinstance(stack, str):
        yield from (f"It cannot be used here: {stack}", "")
        return
    described = stack.inventory()
    for label, component in stack.parts.items():
        about = described[label]
        origin = f" from {about['distribution']} {about['version']}" if about["distribution"] else ""
        yield from (f"### {label}: {about['name']}", "", f"{_code(about['class'])}{origin}. {_summary(component)}", "")
        rows = [_row(component, field) for field in settings_of(type(component)) if not field.name.startswith("_")]
        if rows:
            yield from _table(("setting", "value", "default", "meaning"), rows)


def _row(component: StackComponent, field: attrs.Attribute[Any]) -> tuple[str, ...]:
    value = setting_to_json(component)[field.name]
    return _code(field.name), _code(value), _default(field), documented(type(component)).get(field.name, "")


def _default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return "computed" if default.takes_self else _code(setting_to_json(default.factory()))
    return _code(setting_to_json(default, shown=bool(field.repr) or default is None))


def _summary(component: StackComponent) -> str:
    return " ".join((inspect.getdoc(type(component)) or "").partition("\n\n")[0].split())


def documented(cls: type) -> dict[str, str]:
    """What the sections `Attributes:` in the docstrings of a class and of those above it say, by attribute."""
    found: dict[str, str] = {}
    for each in cls.__mro__:
        text = inspect.cleandoc(each.__doc__ or "")
        section = re.search(r"^Attributes:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
        entries = re.findall(r"^(\w+):[ ]?(.*(?:\n(?:[ ]+.*|))*)", textwrap.dedent(section[1] if section else ""), re.M)
        for name, meaning in entries:
            found.setdefault(name, " ".join(meaning.split()))
    return found


def _of_pipeline(pipeline: Pipeline[Any, Any], stacks: dict[str, Stack | str], workspace: Workspace) -> Iterator[str]:
    said = " ".join((inspect.getdoc(pipeline.fn) or "").partition("\n\n")[0].split())
    yield from (said, "") if said else ()
    try:
        graph = pipeline.graph()
    except DrystoneError as exc:
        yield from (f"Its graph cannot be drawn with default parameters: {exc}", "")
        return
    yield from ("```mermaid", *mermaid(graph), "```", "")
    rows = [(_code(node.name), *_needs(node)) for node in graph.nodes.values()]
    yield from _table(("step", "timeout", "resources", "capabilities", "uses", "on"), rows)
    fits = [(_code(name), *_verdict(graph, stack, workspace)) for name, stack in stacks.items()]
    yield from _table(("stack", "can run it", "because"), fits)


def mermaid(graph: Graph) -> Iterator[str]:
    """A graph in the language of Mermaid, line by line."""
    numbers = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    yield "flowchart TD"
    for name, number in numbers.items():
        label = f"{name} (map)" if graph.nodes[name].mapped else name
        yield f'  {number}["{label}"]'
    for before, after in graph.edges:
        yield f"  {numbers[before]} --> {numbers[after]}"


def _needs(node: Node) -> tuple[str, ...]:
    options = node.step.options
    wanted = {"timeout": options.timeout, "resources": options.resources}
    capabilities = ", ".join(name for name, value in wanted.items() if value is not None)
    uses = ", ".join(options.uses)
    timeout = "" if options.timeout is None else f"{options.timeout:g} s"
    resources = "" if options.resources is None else _code(abbreviated(options.resources))
    return timeout, resources, capabilities, uses, _code(options.on)


def _verdict(graph: Graph, stack: Stack | str, workspace: Workspace) -> tuple[str, str]:
    if isinstance(stack, str):
        return "no", stack
    try:
        bound = stack.at(workspace.place)
        where, needs = placements(graph, bound), unmet(graph, bound)
        problems = obstacles(graph, bound, workspace.materializers, where, needs)
    except DrystoneError as exc:
        problems = [str(exc)]
    return ("no", " ".join(problems)) if problems else ("yes", "")


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table of Markdown, followed by an empty line."""
    for row in (titles, ("---",) * len(titles), *rows):
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _code(value: Any) -> str:
    return "" if value is None else f"`{value}`"
