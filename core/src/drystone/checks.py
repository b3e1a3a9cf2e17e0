"""Checking stacks before anything runs on them: every problem at once, of every component."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import attrs

from drystone.capabilities import needs_of_stores
from drystone.choices import Stacks
from drystone.components import Place, StackComponent, leaves
from drystone.digests import SCRIPT_NAME
from drystone.errors import DrystoneError, message_of
from drystone.orchestrators import Orchestrator
from drystone.origins import find_spec
from drystone.plugins import load_plugins
from drystone.projects import project_root, workspace_directory
from drystone.secrets import Secret
from drystone.stacks import Stack


@attrs.frozen
class StackProblem:
    """One thing that keeps a stack from being used.

    Attributes:
        stack: Its name; empty where the problem is that of the file that defines stacks, or of a plugin.
        component: The kind of the component, or `step_orchestrators.big`; empty where it is the stack's as a whole.
        message: What is wrong, and the way out.
    """

    stack: str
    component: str
    message: str


def check_stack(stack: Stack, place: Place | None = None) -> list[StackProblem]:
    """Everything that keeps a stack from being used here and now; may reach for services.

    Args:
        stack: As it is defined.
        place: Where it is to be used; the project of the working directory by default.
    """
    where = place or Place(root=project_root(), workspace=workspace_directory(project_root()))
    problems = [StackProblem(stack.name, "", text) for text in _mismatches(stack)]
    components = _bound(stack, where)
    for label, part in stack.parts.items():
        problems += [StackProblem(stack.name, label, text) for text in _problems(part, where, components)]
    return problems


def check_stacks(found: Stacks, names: Iterable[str], place: Place | None = None) -> list[StackProblem]:
    """Everything that is wrong with some stacks of a project, and with the plugins that they may come from.

    Args:
        found: The stacks of the project.
        names: Of those to check.
        place: Where they are to be used; the project of the working directory by default.
    """
    problems = [StackProblem("", "", text) for text in load_plugins().problems()]
    for name in names:
        try:
            problems += check_stack(found.get(name), place)
        except DrystoneError as exc:
            problems.append(StackProblem(name, "", str(exc)))
    return problems


def _mismatches(stack: Stack) -> Iterator[str]:
    """What the orchestrators need of the artifact store, and that has not."""
    store = stack.artifact_store
    try:
        for need in (need for on in (None, *stack.step_orchestrators) for need in needs_of_stores(stack, on)):
            if not need.is_met(stack):
                yield (
                    f"{need.who} needs an artifact store with the capability {need.capability!r}, which "
                    f"{store.name!r} has not. Take another artifact store, or another orchestrator."
                )
    except Exception as exc:
        yield f"What its components are capable of cannot be told: {_raised(exc)}"


def _bound(stack: Stack, place: Place) -> dict[str, StackComponent]:
    """The components of a stack as its orchestrators know them, but those that are not to be had here."""
    found = {}
    for kind, component in stack.components.items():
        with suppress(Exception):  # which is told where the component itself is checked
            found[kind] = component.at(place)
    return found


def _problems(component: StackComponent, place: Place, others: Mapping[str, StackComponent]) -> Iterator[str]:
    yield from _unimportable(component)
    unresolved = [*_unresolved(component)]
    yield from unresolved
    if unresolved:  # without its secrets no service would let it in
        return
    try:
        used = component.at(place)
        yield from (used.within(others) if isinstance(used, Orchestrator) else used).check()
    except Exception as exc:  # a check that fails is what it found
        yield f"It cannot be used: {_raised(exc)}"


def _raised(exc: Exception) -> str:
    return message_of(exc) if isinstance(exc, DrystoneError) else f"{type(exc).__name__}: {message_of(exc)}"


def _unimportable(component: StackComponent) -> Iterator[str]:
    """Why a worker in another process could not make the component, if it could not."""
    cls = type(component)
    stays = isinstance(component, Orchestrator)  # with the driver
    missing = _is_lost(cls.__module__) or (not stays and find_spec(cls.__module__) is None)
    if missing or "<locals>" in cls.__qualname__:
        yield (
            f"Its class {cls.__qualname__} is defined in {_place_of(cls)}, where no other process can import it. Move "
            "it to the top level of a module of the project, and import it from there."
        )


def _is_lost(module: str) -> bool:
    return module == "__main__" and not hasattr(sys.modules.get(module), SCRIPT_NAME)


def _place_of(cls: type) -> str:
    return "a function" if "<locals>" in cls.__qualname__ else f"the module {cls.__module__!r}"


def _unresolved(component: StackComponent) -> Iterator[str]:
    for path, value in leaves(component):
        if isinstance(value, Secret):
            try:
                value.resolve()
            except Exception as exc:
                yield f"{path}: {_raised(exc)}"
