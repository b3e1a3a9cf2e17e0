"""Components: what stacks are made of. A component is one attrs class whose fields are its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs

from drystone.errors import StackError, listed, suggestion
from drystone.secrets import Secret


@attrs.frozen(kw_only=True)
class Place:
    """Where a stack is used: the project's root and the workspace's local directory."""

    root: Path
    workspace: Path


@attrs.frozen(kw_only=True)
class StackComponent:
    """One configured object in a stack; the fields of its class are its settings.

    Class attributes:
        kind: The keyword a stack takes it by, as `orchestrator`. Set by the abstract class of the kind.
        name: The short name for the command line; by default the class name without its kind, in lower case.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("name"):
            kind = "".join(part.title() for part in cls.kind.split("_"))
            cls.name = (cls.__name__.removesuffix(kind) or cls.__name__).lower()

    def __new__(cls, *values: Any, **settings: Any) -> Self:
        """Refuse settings that the class does not have.

        Raises:
            StackError: Names each of them, and those it has.
        """
        signature = inspect.signature(cls.__init__)
        try:
            if values or settings:  # with neither, pickle and copy make an object that they fill themselves
                signature.bind(None, *values, **settings)
        except TypeError as exc:
            _, *known = signature.parameters
            unknown = [
                f"{cls.__name__} has no setting {name!r}.{suggestion(name, known, 'Its settings')}"
                for name in settings
                if name not in known
            ]
            other = f"{cls.__name__}(…): {exc}. Its settings: {', '.join(known) or 'none'}."
            raise StackError(listed(unknown or [other])) from None
        return super().__new__(cls)

    def at(self, place: Place) -> StackComponent:
        """This component with whatever depends on the place filled in; called when its stack is used."""
        return self

    def check(self) -> Iterable[str]:
        """What keeps it from being used here and now: a sentence each, with the way out.

        Called by `drystone stacks check`, on a component that knows its place; a run never calls it, so it may take its
        time and reach for services.
        """
        return ()


def _hidden(value: Any) -> str:
    return "…"


def setting_to_json(value: Any, *, shown: bool = True, hide: Callable[[Any], str] = _hidden) -> Any:
    """A setting as JSON; what its class keeps out of its repr is hidden, except that secrets show references."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, Mapping):
        return {str(key): setting_to_json(item, shown=shown, hide=hide) for key, item in value.items()}
    if not shown:
        return hide(value)
    if isinstance(value, set | frozenset):  # in an order that is the same in every process
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        return [setting_to_json(item, hide=hide) for item in value]
    if attrs.has(type(value)):
        shown_fields = [field for field in settings_of(type(value)) if not field.name.startswith("_")]
        return {
            field.alias: setting_to_json(getattr(value, field.name), shown=bool(field.repr), hide=hide)
            for field in shown_fields
        }
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def settings_of(cls: type) -> list[attrs.Attribute[Any]]:
    """The fields of a component's class, or of what stands in a setting, that whoever makes one gives."""
    return [field for field in attrs.fields(cls) if field.init]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a component or setting that holds nothing more, with its path: `options.key`, `hosts[0].token`."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    elif attrs.has(type(value)):
        for field in settings_of(type(value)):
            yield from leaves(getattr(value, field.name), f"{path}.{field.alias}".lstrip("."))
    else:
        yield path, value
