"""Published stacks: what the ledger keeps of a stack, and the stack made again of it."""

from __future__ import annotations

import datetime
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone.components import StackComponent, leaves, settings_of
from drystone.errors import DrystoneError, EncodingError, StackError, listed
from drystone.origins import provider_of
from drystone.stacks import STEP_ORCHESTRATORS, Stack, assembled, divided
from drystone.values import class_name, find_class, from_json, to_json

CREDENTIAL = re.compile(r"(^|[._])(key|secret|token|pass(word|wd)?|credentials?|(api|access|private)_?key)$", re.I)
"""The end of a setting's path where the text is likely one that nobody else must read."""


@attrs.frozen(kw_only=True)
class PublishedStack:
    """A version of a stack that somebody published to the workspace, or withdrew.

    Attributes:
        name: Of the stack.
        number: Of the version.
        author: Who published it.
        at: When.
        components: What `Stack.inventory` says of it, with its settings to restore it from under `values`; None where
            the stack was withdrawn.
    """

    name: str
    number: int
    author: str
    at: datetime.datetime
    components: Mapping[str, Any] | None = attrs.field(default=None, repr=False)

    @property
    def source(self) -> str:
        """Where it is from, as listings show it."""
        return f"published by {self.author}, version {self.number}"

    def describe(self) -> dict[str, Any]:
        """As `Stack.describe` does; nothing that it consists of needs to be installed."""
        parts = ("class", "name", "distribution", "version", "settings")
        saved = {label: {part: of[part] for part in parts} for label, of in (self.components or {}).items()}
        components, further = divided(saved)
        return {"name": self.name, "components": components, STEP_ORCHESTRATORS: further}

    def restore(self) -> Stack:
        """The stack.

        Raises:
            StackError: A distribution is not installed, or a class does not take these settings any more; all such
                problems are listed, with what to install.
        """
        made: dict[str, Any] = {}
        problems = []
        for label, saved in (self.components or {}).items():
            try:
                made[label] = _component(saved)
            except (DrystoneError, TypeError, ValueError) as exc:
                problems.append(f"The {label} of stack {self.name!r}, {self.source}, cannot be made here: {exc}")
        if problems:
            raise StackError(listed(problems))
        return assembled(self.name, made)


def packed(stack: Stack) -> dict[str, Any]:
    """The parts of a stack as the ledger keeps them.

    Raises:
        StackError: Somebody else could not use it: a class is of no installed distribution, or a setting has no exact
            form. Or a text looks like one that must stay secret. All such problems are listed.
    """
    problems: list[str] = []
    components = stack.inventory()
    for label, component in stack.parts.items():
        problems += [f"{label}: {problem}" for problem in _unfit(component)]
        if not problems:
            values = {field.alias: to_json(getattr(component, field.name)) for field in settings_of(type(component))}
            components[label] |= {"class": class_name(type(component)), "values": values}
    if problems:
        raise StackError(f"The stack {stack.name!r} cannot be published. {listed(problems)}")
    return components


def _unfit(component: StackComponent) -> Iterator[str]:
    cls = type(component)
    if provider_of(cls) is None:
        yield (
            f"The class {cls.__qualname__} (module {cls.__module__}) is of no installed distribution, so nobody else "
            "has it. Put it into a package, and install that."
        )
    for field in settings_of(cls):
        try:
            to_json(getattr(component, field.name))
        except (EncodingError, RecursionError) as exc:
            yield f"The setting {field.name} cannot be written down: {exc}"
    for path, value in leaves(component):
        if isinstance(value, str) and value and CREDENTIAL.search(path):
            yield (
                f"The setting {path} is plain text and looks like a credential, which a ledger would keep for ever. "
                f'Refer to it: Secret("env:{re.sub(r"[^A-Za-z0-9]+", "_", path).upper()}").'
            )


def _component(saved: Mapping[str, Any]) -> StackComponent:
    try:
        cls: Any = find_class(saved["class"])
    except EncodingError as exc:
        raise StackError(_absent(saved)) from exc
    provider, _ = provider_of(cls) or ("no distribution", "")
    if _normal(provider) != _normal(saved["distribution"]):
        raise StackError(f"{saved['class']} was published from {saved['distribution']}, but here it is of {provider}.")
    made: StackComponent = cls(**{name: from_json(value) for name, value in saved["values"].items()})
    return made


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _absent(saved: Mapping[str, Any]) -> str:
    name, version = saved["distribution"], saved["version"]
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed. Install it: pip install '{name}>={version}'."
    return (
        f"{name} {installed} has no class {saved['class']}, which {name} {version} had. Install another version, such "
        f"as pip install '{name}=={version}', or publish the stack again."
    )
