"""Stacks: a name and one component per kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.components import Place, StackComponent, setting_to_json
from drystone.digests import type_name
from drystone.errors import StackError, listed, suggestion
from drystone.orchestrators import Orchestrator
from drystone.origins import provider_of


@attrs.frozen(init=False, repr=False)
class Stack:
    """A name and one component per kind.

    `Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())`; every further kind is a
    keyword of its own, and an attribute: `stack.container_registry`.

    Raises:
        StackError: A kind is missing or filled with something else. All such problems are listed.
    """

    name: str
    components: Mapping[str, StackComponent] = attrs.field(hash=False)

    if TYPE_CHECKING:
        orchestrator: Orchestrator
        artifact_store: ArtifactStore

        def __init__(
            self, name: str, *, orchestrator: Orchestrator, artifact_store: ArtifactStore, **others: StackComponent
        ) -> None: ...

    else:  # a missing kind is a StackError that says so, not a TypeError

        def __init__(self, name: str, **components: StackComponent) -> None:
            problems = [f"Stack {name!r}: {problem}" for problem in _problems(name, components)]
            if problems:
                raise StackError(listed(problems))
            self.__attrs_init__(name, MappingProxyType(components))

    def __getattr__(self, kind: str) -> Any:
        if kind not in self.components:
            hint = suggestion(kind, self.components, "Its components")
            raise AttributeError(f"Stack {self.name!r} has no {kind!r}.{hint}")
        return self.components[kind]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, dict(self.components))

    def __repr__(self) -> str:
        parts = [repr(self.name), *(f"{kind}={component!r}" for kind, component in self.components.items())]
        return f"Stack({', '.join(parts)})"

    def evolve(self, name: str, **components: StackComponent | None) -> Stack:
        """A stack with another name, and other components in place of some of these or beside them.

        A kind that is given as None is left out.

        Raises:
            StackError: What is given does not fit, or a kind that every stack needs is left out.
        """
        kept = {**self.components, **components}
        return _restored(name, {kind: component for kind, component in kept.items() if component is not None})

    def at(self, place: Place) -> Stack:
        """This stack with every component filled in for the place where it is used."""
        return _restored(self.name, {kind: component.at(place) for kind, component in self.components.items()})

    def describe(self) -> dict[str, Any]:
        """The stack as JSON values, secrets as their references.

        Of each component its class, short name and settings, and the distribution it comes from with its version; both
        are None where no installed distribution has the class.
        """
        components = {kind: _described(component) for kind, component in self.components.items()}
        return {"name": self.name, "components": components}


def _described(component: StackComponent) -> dict[str, Any]:
    cls = type(component)
    distribution, version = provider_of(cls) or (None, None)
    return {
        "class": type_name(cls),
        "name": component.name,
        "distribution": distribution,
        "version": version,
        "settings": setting_to_json(component),
    }


def _restored(name: str, components: dict[str, Any]) -> Stack:
    return Stack(name, **components)


def _problems(name: object, components: Mapping[str, object]) -> Iterator[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        yield "A stack's name starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'."
    for kind in (Orchestrator.kind, ArtifactStore.kind):
        if kind not in components:
            yield f"It has no {kind}. Every stack needs one: {kind}=…"
    for kind, component in components.items():
        if isinstance(component, type):
            yield f"{kind} is the class {component.__name__}. Write {component.__name__}(…)."
        elif not isinstance(component, StackComponent):
            yield f"{kind} is {component!r}, which is no stack component."
        elif not component.kind:
            yield f'{kind} is {component!r}, whose class says no kind. Write kind = "{kind}" in it.'
        elif component.kind != kind:
            yield f"{kind} is {component!r}, but its kind is {component.kind!r}. Write {component.kind}=…"
