"""Arguments: what cache keys and records take of what a step is given, and of the code that it reaches through that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from drystone.annotations import abbreviated
from drystone.components import StackComponent, settings_of
from drystone.digests import digest_value, type_name
from drystone.errors import EncodingError
from drystone.fingerprints import Closure, Fingerprints, classes_of
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef, Part, Value
from drystone.runs import Cause
from drystone.values import to_json

Stored = Callable[[OutputRef | Lookup], str]
"""The digest of an artifact."""


@attrs.frozen(kw_only=True)
class Arguments:
    """What is known of arguments of a step.

    Attributes:
        values: Digests of the plain ones.
        shown: The same as text.
        inputs: Digests of the others' content.
        classes: What is behind the plain ones.
        problems: Why some of them have no digest.
    """

    values: Mapping[str, str]
    shown: Mapping[str, str]
    inputs: Mapping[str, str]
    classes: tuple[type, ...]
    problems: tuple[Cause, ...]

    def __or__(self, other: Arguments) -> Arguments:
        return Arguments(
            values={**self.values, **other.values},
            shown={**self.shown, **other.shown},
            inputs={**self.inputs, **other.inputs},
            classes=tuple(dict.fromkeys((*self.classes, *other.classes))),
            problems=self.problems + other.problems,
        )


def arguments_of(bindings: Mapping[str, Binding], stored: Stored) -> Arguments:
    """What is known of arguments, given the digests of artifacts."""
    plain = {name: each.value for name, each in bindings.items() if isinstance(each, Value)}
    values: dict[str, str] = {}
    problems: list[Cause] = []
    for name, value in plain.items():
        try:
            values[name] = digest_value(value)
        except EncodingError as exc:
            problems.append(Cause("unknown", f"parameter {name}: {exc}", name=name))
    return Arguments(
        values=values,
        shown={name: abbreviated(value) for name, value in plain.items()},
        inputs={name: content_digest(each, stored) for name, each in bindings.items() if name not in plain},
        classes=_classes(bindings.values()),
        problems=tuple(problems),
    )


USES = "uses "
"""What the names of components that a step uses begin with, among the names of arguments; and of columns."""


def used_by(node: Node, components: Mapping[str, StackComponent]) -> Arguments | None:
    """What a key takes of what a step uses, as if that were arguments.

    Of components that is class, code and settings; of frames that it gets in part, which columns those are.
    """
    used = {f"{USES}{kind}": components[kind] for kind in node.step.options.uses if kind in components}
    columns = {f"{USES}columns of {name}": labels for name, labels in node.step.columns.items()}
    if not used and not columns:
        return None
    values = {name: digest_value(_identity(each)) for name, each in used.items()}
    values |= {name: digest_value(labels) for name, labels in columns.items()}
    shown = {name: repr(each) for name, each in (used | columns).items()}
    classes = tuple(dict.fromkeys(cls for each in used.values() for cls in classes_of(each)))
    return Arguments(values=values, shown=shown, inputs={}, classes=classes, problems=())


def _identity(component: StackComponent) -> tuple[str, Any]:
    counted = [field.name for field in settings_of(type(component)) if field.metadata.get("in_key", True)]
    return type_name(type(component)), {name: to_json(getattr(component, name)) for name in counted}


def content_digest(binding: Binding, stored: Stored) -> str:
    """The digest of what a parameter is bound to, given those of artifacts."""
    if isinstance(binding, Items):
        return digest_value((binding.container, binding.keys, [content_digest(each, stored) for each in binding.items]))
    if isinstance(binding, Part):
        return binding.manifest.digest
    return digest_value(("value", binding.value)) if isinstance(binding, Value) else stored(binding)


def closure_of(node: Node, fingerprints: Fingerprints, components: Mapping[str, StackComponent]) -> Closure:
    """The code that a node's step reaches, through its arguments and the components that it uses as well."""
    used = used_by(node, components)
    return fingerprints.closure(node.step, (*_classes(node.bindings.values()), *(used.classes if used else ())))


def _classes(bindings: Iterable[Binding]) -> tuple[type, ...]:
    values = [binding.value for binding in bindings if isinstance(binding, Value)]
    return tuple(dict.fromkeys(each for value in values for each in classes_of(value)))


def unread(closure: Closure) -> Iterator[Cause]:
    """Why nobody can say what code does."""
    yield from (Cause("edited", f"{name}: file edited since it was loaded", name=name) for name in closure.edited)
    yield from (Cause("unknown", problem) for problem in closure.problems)
