"""Stacks: a name, one component per kind, and further orchestrators that steps can name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.components import Place, StackComponent, setting_to_json
from drystone.digests import type_name
from drystone.errors import StackError, listed, suggestion
from drystone.orchestrators import Orchestrator
from drystone.origins import provider_of

STEP_ORCHESTRATORS = "step_orchestrators"
"""The keyword by which a stack takes orchestrators for single steps, and under which descriptions have them."""

T = TypeVar("T")


@attrs.frozen(init=False, repr=False)
class Stack:
    """A name and one component per kind.

    `Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())`; every further kind is a
    keyword of its own, and an attribute: `stack.container_registry`. Steps that say `@step(on="big")` run on another
    orchestrator, which `step_orchestrators={"big": …}` names.

    Attributes:
        components: One per kind, by kind.
        step_orchestrators: Those for steps that name one by `on=`, by name.

    Raises:
        StackError: A kind is missing or filled with something else. All such problems are listed.
    """

    name: str
    components: Mapping[str, StackComponent] = attrs.field(hash=False)
    step_orchestrators: Mapping[str, Orchestrator] = attrs.field(hash=False)

    if TYPE_CHECKING:
        orchestrator: Orchestrator
        artifact_store: ArtifactStore

        def __init__(
            self,
            name: str,
            *,
            orchestrator: Orchestrator,
            artifact_store: ArtifactStore,
            step_orchestrators: Mapping[str, Orchestrator] | None = None,
            **others: StackComponent,
        ) -> None: ...

    else:  # a missing kind is a StackError that says so, not a TypeError

        def __init__(
            self,
            name: str,
            *,
            step_orchestrators: Mapping[str, Orchestrator] | None = None,
            **components: StackComponent,
        ) -> None:
            on = {} if step_orchestrators is None else step_orchestrators
            problems = [*_problems(name, components), *_misfits(on)]
            if problems:
                raise StackError(listed([f"Stack {name!r}: {problem}" for problem in problems]))
            self.__attrs_init__(name, MappingProxyType(components), MappingProxyType(dict(on)))

    def __getattr__(self, kind: str) -> Any:
        if kind not in self.components:
            hint = suggestion(kind, self.components, "Its components")
            raise AttributeError(f"Stack {self.name!r} has no {kind!r}.{hint}")
        return self.components[kind]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, dict(self.components), dict(self.step_orchestrators))

    def __repr__(self) -> str:
        given: dict[str, Any] = dict(self.components)
        if self.step_orchestrators:
            given[STEP_ORCHESTRATORS] = dict(self.step_orchestrators)
        return f"Stack({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in given.items())])})"

    @property
    def parts(self) -> dict[str, StackComponent]:
        """All that it consists of: components by kind, and those for single steps as `step_orchestrators.big`."""
        further = {f"{STEP_ORCHESTRATORS}.{name}": each for name, each in self.step_orchestrators.items()}
        return {**self.components, **further}

    def orchestrator_of(self, on: str | None) -> Orchestrator:
        """The orchestrator of steps that say this by `on=`; that of the stack itself for None.

        Raises:
            StackError: The stack has none of that name.
        """
        if on is None:
            return self.orchestrator
        if on not in self.step_orchestrators:
            raise StackError(
                f"Stack {self.name!r} has no orchestrator {on!r} for steps."
                f"{suggestion(on, self.step_orchestrators, 'Its step_orchestrators')}"
            )
        return self.step_orchestrators[on]

    def evolve(
        self,
        name: str,
        *,
        step_orchestrators: Mapping[str, Orchestrator] | EllipsisType | None = ...,
        **components: StackComponent | None,
    ) -> Stack:
        """A stack with another name, and other components in place of some of these or beside them.

        A kind that is given as None is left out. `step_orchestrators` takes the place of all of them; None empties it.

        Raises:
            StackError: What is given does not fit, or a kind that every stack needs is left out.
        """
        kept = {kind: each for kind, each in {**self.components, **components}.items() if each is not None}
        return _restored(name, kept, self.step_orchestrators if step_orchestrators is ... else step_orchestrators)

    def at(self, place: Place) -> Stack:
        """This stack with every component filled in for the place where it is used, of which its orchestrators know."""
        bound = self._changed(lambda each: each.at(place))
        return bound._changed(lambda each: each.within(bound.components) if isinstance(each, Orchestrator) else each)

    def _changed(self, change: Callable[[StackComponent], StackComponent]) -> Stack:
        changed = {label: change(part) for label, part in self.parts.items()}
        return assembled(self.name, changed)

    def describe(self) -> dict[str, Any]:
        """The stack as JSON values, secrets as their references.

        Of each component its class, short name and settings, and the distribution it comes from with its version; both
        are None where no installed distribution has the class.
        """
        components, further = divided(self.inventory())
        return {"name": self.name, "components": components, STEP_ORCHESTRATORS: further}

    def inventory(self) -> dict[str, dict[str, Any]]:
        """What `describe` says of each of its `parts`."""
        return {label: _described(part) for label, part in self.parts.items()}


def divided(parts: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """What belongs to the parts of a stack: that of its components by kind, that of orchestrators of steps by name."""
    start = f"{STEP_ORCHESTRATORS}."
    components = {label: each for label, each in parts.items() if not label.startswith(start)}
    return components, {label.removeprefix(start): parts[label] for label in parts if label not in components}


def assembled(name: str, parts: Mapping[str, Any]) -> Stack:
    """A stack of its parts.

    Raises:
        StackError: They do not fit.
    """
    return _restored(name, *divided(parts))


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


def _restored(name: str, components: Mapping[str, Any], on: Mapping[str, Any] | None = None) -> Stack:
    return Stack(name, step_orchestrators=on, **components)


NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


def _problems(name: object, components: Mapping[str, object]) -> Iterator[str]:
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
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


def _misfits(on: object) -> Iterator[str]:
    """What is wrong with what is given as orchestrators of steps."""
    if not isinstance(on, Mapping):
        yield f'{STEP_ORCHESTRATORS} is {on!r}. It has orchestrators by name: {STEP_ORCHESTRATORS}={{"big": …}}.'
        return
    for name, each in on.items():
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            yield (
                f"{STEP_ORCHESTRATORS} has the name {name!r}. It starts with a letter or digit and goes on with "
                "letters, digits, '.', '_' and '-'."
            )
        if isinstance(each, type):
            yield f"{STEP_ORCHESTRATORS}[{name!r}] is the class {each.__name__}. Write {each.__name__}(…)."
        elif not isinstance(each, Orchestrator):
            yield f"{STEP_ORCHESTRATORS}[{name!r}] is {each!r}, which is no orchestrator."
