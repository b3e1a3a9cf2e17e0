"""Tables, as files and JSON hold them, as objects of classes that are described by their fields."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_origin

import attrs
import cattrs
from cattrs.cols import is_namedtuple, namedtuple_dict_structure_factory
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override, typeddicts

from drystone.errors import suggestion

Read = Callable[[Any, Any], Any]
"""Makes a value of data and a type."""


class UnreadableError(ValueError):
    """A value is not what it should be.

    Attributes:
        problems: A message for each place in it, such as `.depth` or `[3]`.
        expected: What was to be there, if that is all there is to say.
    """

    def __init__(self, *problems: tuple[str, str], expected: str = "") -> None:
        self.problems = problems
        self.expected = expected
        super().__init__(
            " ".join(f"{place.lstrip('.')}: {message}" if place else message for place, message in problems)
        )


class Plain(str):
    """A text that its file has put in no quotes, so it may stand for a number, a date or whatever is asked for."""

    __slots__ = ()


def shown(data: Any) -> str:
    """How a message shows data."""
    text = repr(str(data) if type(data) is Plain else data)
    return text if len(text) <= 80 else f"{text[:79]}…"


def unlike(data: Any, label: str) -> UnreadableError:
    """The error for data where something else was to be; the label says what."""
    return UnreadableError(("", f"it takes {label}, not {shown(data)}."), expected=label)


def has_fields(annotation: Any) -> bool:
    """Whether a type is an attrs class, a dataclass, a named tuple or a typed dict."""
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return False
    return attrs.has(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or is_namedtuple(kind)


def reader(read: Read) -> Read:
    """What makes objects of classes from tables, with cattrs.

    Args:
        read: Reads all that is no such object, for cattrs itself would take `"3"` for 3, and `"no"` for true.
    """
    converter = cattrs.Converter()
    for kind in (str, bytes, int, float, pathlib.Path):
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_func(lambda annotation: not has_fields(annotation), read)
    converter.register_structure_hook_factory(has_fields, lambda annotation: _maker(annotation, converter, read))

    def made(data: Any, annotation: Any) -> Any:
        try:
            return converter.structure(data, annotation)
        except NameError as exc:
            problem = (
                f"the class names {exc.name!r}, which does not exist at run time: import it, not under TYPE_CHECKING."
            )
            raise UnreadableError(("", problem)) from None

    return made


def _maker(annotation: Any, converter: cattrs.Converter, read: Read) -> Callable[[Any, Any], Any]:
    kind = get_origin(annotation) or annotation
    make = _structure_function(annotation, kind, converter, read)
    names = [*inspect.signature(kind).parameters] if not typing.is_typeddict(kind) else [*kind.__annotations__]

    def made(data: Any, _: Any) -> Any:
        if not isinstance(data, Mapping):
            raise unlike(data, f"a table with {', '.join(names)}")
        try:
            return make({str(name): item for name, item in data.items()}, annotation)
        except cattrs.BaseValidationError as exc:
            raise UnreadableError(*_problems(exc, names)) from None

    return made


def _structure_function(
    annotation: Any, kind: Any, converter: cattrs.Converter, read: Read
) -> Callable[[Any, Any], Any]:
    if typing.is_typeddict(kind):
        return typeddicts.make_dict_structure_fn(annotation, converter, _cattrs_forbid_extra_keys=True)
    if is_namedtuple(kind):
        return namedtuple_dict_structure_factory(annotation, converter, "from_converter", True)
    hooks = {each.name: override(struct_hook=_converted(each, read)) for each in getattr(kind, "__attrs_attrs__", ())}
    given = {name: hook for name, hook in hooks.items() if hook.struct_hook is not None}
    options: Any = {"_cattrs_forbid_extra_keys": True, "_cattrs_use_alias": True, **given}
    return make_dict_structure_fn(annotation, converter, **options)


def _converted(field: Any, read: Read) -> Callable[[Any, Any], Any] | None:
    """What reads data for a field of an attrs class whose converter says what it takes."""
    convert = getattr(field.converter, "converter", field.converter)
    if not inspect.isfunction(convert):
        return None
    first = next(iter(inspect.signature(convert).parameters), "")
    try:
        taken = typing.get_type_hints(convert).get(first)
    except NameError:
        return None
    return None if taken is None else lambda data, _: read(data, taken)


def _problems(exc: cattrs.BaseValidationError, names: list[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a table, each with its place."""
    placed, others = exc.group_exceptions()  # type: ignore[attr-defined]
    for error, note in placed:
        if isinstance(error, KeyError):
            yield "", f"it needs {note.name!r}."
        else:
            inside = error.problems if isinstance(error, UnreadableError) else [("", f"{error}")]
            yield from ((f".{note.name}{place}", message) for place, message in inside)
    for error in others:
        if isinstance(error, ForbiddenExtraKeysError):
            for name in sorted(error.extra_fields):
                yield f".{name}", f"there is no such field.{suggestion(name, names, 'Fields')}"
        else:
            yield "", f"{error}" if f"{error}".endswith(".") else f"{error}."
