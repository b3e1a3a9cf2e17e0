"""What a run is asked for beside the code: options and plain parameters of single steps, put into its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs

from drystone.declarations import Stored
from drystone.errors import ParameterError, suggestion
from drystone.fitting import accepts
from drystone.graphs import Builder, Graph, Node, OutputRef, leaves, unlike

PARAMETERS = "parameters"
"""The key among a step's options that holds values for its parameters."""

Overrides = Mapping[str, Mapping[str, Any]]
"""Options by name of step, as in `{"train": {"retries": 2, "parameters": {"depth": 10}}}`."""


def merged(first: Overrides, second: Overrides) -> dict[str, dict[str, Any]]:
    """Two sets of overrides as one; where both say something of one option or parameter, the second counts."""
    both = {name: {**options} for name, options in first.items()}
    for name, options in second.items():
        before = both.get(name, {})
        both[name] = {**before, **options}
        if PARAMETERS in before and PARAMETERS in options:
            both[name][PARAMETERS] = {**before[PARAMETERS], **options[PARAMETERS]}
    return both


def check_overrides(options: object, attribute: object, steps: Any) -> None:
    """Refuse what has not the shape of `Overrides`."""
    if not _is_nested(steps) or not all(_is_nested(each, PARAMETERS) for each in steps.values()):
        raise ParameterError(
            f"steps={steps!r} does not say what of which step is to be changed. It looks like this: "
            'steps={"train": {"retries": 2, "parameters": {"depth": 10}}}.'
        )


def _is_nested(value: Any, *names: str) -> bool:
    """Whether a value is a mapping, and what it holds, or holds under some names, are mappings too."""
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(each, Mapping) for name, each in value.items() if not names or name in names)


def overridden(graph: Graph, steps: Overrides) -> Graph:
    """A graph with other options and parameters of some steps.

    Raises:
        ParameterError: Lists every step, option and parameter that does not exist, every parameter that is bound to
            what another step makes, and every value that does not fit.
    """
    if not steps:
        return graph
    nodes, problems = dict(graph.nodes), list[str]()
    for name, options in steps.items():
        if name not in nodes:
            hint = suggestion(name, nodes, "Its steps")
            problems.append(f"Pipeline {graph.pipeline!r} has no step {name!r}.{hint}")
            continue
        found = list(_problems(nodes[name], options))
        problems += [f"Step {name!r} {problem}" for problem in found]
        if not found:
            nodes[name] = _changed(graph, nodes[name], options)
    if problems:
        raise ParameterError(*problems)
    return attrs.evolve(graph, nodes=nodes)


def _problems(node: Node, options: Mapping[str, Any]) -> Iterator[str]:
    known = [*attrs.fields_dict(type(node.step.options)), PARAMETERS]
    for name in (name for name in options if name not in known):
        if name in node.bindings:
            yield f"has no option {name!r}; it is one of its parameters, whose values stand under {PARAMETERS!r}."
        else:
            yield f"has no option {name!r}.{suggestion(name, known, 'Options')}"
    try:
        attrs.evolve(
            node.step.options, **{name: options[name] for name in known if name in options and name != PARAMETERS}
        )
    except (AttributeError, TypeError, ValueError) as exc:
        yield f"cannot have these options: {exc}"
    for name, value in options.get(PARAMETERS, {}).items():
        yield from _misplaced(node, name, value)


def _misplaced(node: Node, name: str, value: Any) -> Iterator[str]:
    """What is wrong with a value for one parameter."""
    if name not in node.bindings:
        yield f"has no parameter {name!r}.{suggestion(name, node.bindings, 'Its parameters')}"
        return
    makers = [leaf.node for leaf in leaves(node.bindings[name]) if isinstance(leaf, OutputRef)]
    annotation = node.takes(name)
    if makers:
        yield (
            f"takes {name!r} from step {', '.join(map(repr, dict.fromkeys(makers)))}, so it cannot be given another "
            "value. What the body of the pipeline passes as a plain value, or leaves at its default, can be changed."
        )
    elif not isinstance(value, Stored) and not accepts(value, annotation):
        yield unlike(name, annotation, value)


def _changed(graph: Graph, node: Node, options: Mapping[str, Any]) -> Node:
    values: Mapping[str, Any] = options.get(PARAMETERS, {})
    bind = Builder(graph.pipeline).binding
    return attrs.evolve(
        node,
        step=cast(Any, node.step).with_options(**{name: each for name, each in options.items() if name != PARAMETERS}),
        bindings={**node.bindings, **{name: bind(value) for name, value in values.items()}},
    )
