"""Texts, and the data that JSON, TOML and YAML know, as values of any type: exactly, or not at all."""

from __future__ import annotations

import datetime
import decimal
import difflib
import enum
import functools
import json
import pathlib
import re
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

import attrs

from drystone import Secret
from drystone_cli.structures import Plain, UnreadableError, has_fields, reader, shown, unlike

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
NOTHING = ("none", "null", "")

HIDDEN = Plain("what was given")
"""What a message shows of a text that may be a secret itself."""

UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


def _duration(text: str) -> datetime.timedelta:
    """A span of time like `1d 12h`, `90 min` or `1.5h`."""
    parts = re.findall(r"(-?\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if not parts or re.sub(r"-?\d+(?:\.\d+)?\s*[a-z]+\s*", "", text):
        raise ValueError(text)
    spans = (datetime.timedelta(seconds=UNITS[unit]) * _number(number) for number, unit in parts)
    return sum(spans, datetime.timedelta())


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


@attrs.frozen
class Scalar:
    """How values of a type are written: what reads a text, and what such a text is called."""

    read: Callable[[Any], Any]
    label: str
    quoted: bool = True
    """Whether files keep it as a text, having no word for it."""
    wider: tuple[type, ...] = ()
    """Data of these types may stand for it."""


SCALARS: Mapping[Any, Scalar] = {
    str: Scalar(str, "a text"),
    bool: Scalar(lambda text: WORDS[text.lower()], "true or false", quoted=False),
    int: Scalar(int, "a whole number", quoted=False),
    float: Scalar(float, "a number", quoted=False, wider=(int,)),
    decimal.Decimal: Scalar(decimal.Decimal, "a number", wider=(int, float)),
    datetime.date: Scalar(datetime.date.fromisoformat, "a date like 2026-01-31"),
    datetime.datetime: Scalar(datetime.datetime.fromisoformat, "a date and time like 2026-01-31T12:00"),
    datetime.time: Scalar(datetime.time.fromisoformat, "a time like 12:30"),
    datetime.timedelta: Scalar(_duration, "a duration like 90s, 12h or 1d 30min"),
    pathlib.Path: Scalar(pathlib.Path, "a path"),
    uuid.UUID: Scalar(uuid.UUID, "a UUID"),
    Secret: Scalar(Secret, "the reference of a secret like env:API_KEY"),
}

LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
SETS = (set, abc.Set, abc.MutableSet)
DICTS = (dict, abc.Mapping, abc.MutableMapping)
CONTAINERS: Mapping[Any, Callable[[Iterable[Any]], Any]] = {
    **dict.fromkeys(LISTS, list),
    **dict.fromkeys(SETS, set),
    frozenset: frozenset,
    tuple: tuple,
}


def from_text(text: str, annotation: Any) -> Any:
    """A text, as it stands on the command line, as a value of a type.

    Raises:
        UnreadableError: It is none.
    """
    annotation = _bare(annotation)
    kind = get_origin(annotation) or annotation
    if kind in (typing.Union, types.UnionType):
        return _first(text, get_args(annotation), from_text)
    if kind is typing.Literal:
        choices = get_args(annotation)
        by_rank = sorted(choices, key=lambda choice: not isinstance(choice, str))  # of `1` and `"1"` the number wins
        return _chosen(text, {_word(choice): choice for choice in by_rank}, map(repr, choices))
    if kind in (Any, object):
        return _anything(text)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = {str(member.value): member for member in kind}
        return _chosen(text, values | dict(kind.__members__), kind.__members__)
    return _scalar(text, kind) if kind in SCALARS else from_data(_json(text, kind), annotation)


def from_data(data: Any, annotation: Any) -> Any:
    """What JSON, TOML or YAML hold, as a value of a type.

    Nothing is guessed: `"3"` is no number and `1` is not true. A text is a date, a path or a member of an enum where
    that is asked for, a list a tuple or set, and a table an attrs class, a dataclass, a named tuple or a typed dict.

    Raises:
        UnreadableError: It is none.
    """
    annotation = _bare(annotation)
    kind = get_origin(annotation) or annotation
    if type(data) is Plain and _holds(kind) is None:
        return from_text(data, annotation)
    if kind in (typing.Union, types.UnionType):
        return _first(data, get_args(annotation), from_data)
    if kind is typing.Literal:
        return _literal(data, get_args(annotation))
    if kind in (Any, object):
        return _resolved(data)
    if kind in (None, type(None)):
        return _same(data, type(None), "nothing")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _member(data, kind)
    if kind in SCALARS:
        return _exact(data, kind)
    if kind in DICTS:
        return _mapping(data, *(get_args(annotation) or (Any, Any)))
    return _items(data, annotation, kind) if kind in CONTAINERS else _made(data, annotation)


def _bare(annotation: Any) -> Any:
    """An annotation without `Annotated`, type aliases and the names of type variables."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or Any
        else:
            return annotation


def _same(data: Any, kind: type, label: str) -> Any:
    if type(data) is not kind:
        raise unlike(data, label)
    return data


# One of several


RANKS = {int: 0, float: 1, pathlib.Path: 8, str: 9, Any: 10, object: 10}
"""Which member of a union is tried first; any text is a `Path` or a `str`, so these are tried last."""


def _first(data: Any, choices: tuple[Any, ...], read: Callable[[Any, Any], Any]) -> Any:
    """Data as the first member of a union that it fits: the one whose type it has already, if there is one."""
    if type(None) in choices and (
        data is None or (type(data) is str and read is from_text and data.lower() in NOTHING)
    ):
        return None
    members = [each for each in map(_bare, choices) if each is not type(None)]
    problems, alike = [], []
    for each in sorted(members, key=lambda each: (type(data) is not each or each is str, RANKS.get(each, 2))):
        try:
            return read(data, each)
        except UnreadableError as exc:
            problems.append(exc)
            alike += [exc] if _holds(each) is type(data) else []
    problems = alike or problems
    if len(problems) == 1:
        raise problems[0]
    if all(exc.expected for exc in problems):
        raise unlike(data, " or ".join(exc.expected for exc in problems))
    raise UnreadableError(("", " ".join(dict.fromkeys(map(str, problems)))))


def _holds(annotation: Any) -> type | None:
    """What data of a type look like: a list or a table; nothing for what is neither."""
    kind = get_origin(annotation) or annotation
    if kind in CONTAINERS:
        return list
    return dict if kind in DICTS or has_fields(kind) else None


def _word(choice: Any) -> str:
    """A member of a `Literal` as people write it."""
    if isinstance(choice, enum.Enum):
        return choice.name
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _chosen(text: str, choices: Mapping[str, Any], names: Iterable[str]) -> Any:
    if text not in choices:
        raise _unknown(text, choices, names)
    return choices[text]


def _unknown(data: Any, known: Iterable[str], names: Iterable[str]) -> UnreadableError:
    nearest = difflib.get_close_matches(data, known, n=1) if isinstance(data, str) else []
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnreadableError(("", f"it takes one of {', '.join(names)}, not {shown(data)}.{hint}"))


def _literal(data: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        written = choice.name if isinstance(choice, enum.Enum) else choice
        if type(written) is type(data) and written == data:
            return choice
    raise _unknown(data, map(_word, choices), map(repr, choices))


def _member(data: Any, kind: Any) -> Any:
    """A member of an enum by its name, or by its value."""
    if isinstance(data, str) and data in kind.__members__:
        return kind[data]
    for member in kind:
        if type(member.value) is type(data) and member.value == data:
            return member
    raise _unknown(data, kind.__members__, kind.__members__)


# Scalars


def _scalar(data: Any, kind: Any) -> Any:
    try:
        return SCALARS[kind].read(data)
    except (ValueError, KeyError, ArithmeticError):
        raise unlike(HIDDEN if kind is Secret else data, SCALARS[kind].label) from None


def _exact(data: Any, kind: Any) -> Any:
    scalar = SCALARS[kind]
    if type(data) is kind:
        return data
    if type(data) is str and scalar.quoted:
        return _scalar(data, kind)
    if type(data) in scalar.wider:
        return _scalar(str(data) if type(data) is float else data, kind)
    raise unlike(data, scalar.label)


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return str(text)


def _resolved(data: Any) -> Any:
    """Data as it is, what stands in no quotes read as JSON would."""
    if isinstance(data, Mapping):
        return {_resolved(key): _resolved(item) for key, item in data.items()}
    if isinstance(data, list):
        return [_resolved(item) for item in data]
    return _anything(data) if type(data) is Plain else data


# Containers and classes


def _json(text: str, kind: Any) -> Any:
    """The JSON in a text that is to be a container or an object of a class."""
    form = _holds(kind)
    if form is None:
        raise UnreadableError(
            ("", f"a value of {getattr(kind, '__qualname__', kind)} cannot be written on the command line.")
        )
    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError:
        data = None
    except (ValueError, RecursionError) as exc:
        raise UnreadableError(("", str(exc))) from None
    if not isinstance(data, form):
        raise unlike(text, "JSON like " + ('{"name": value}' if form is dict else "[1, 2, 3]"))
    return data


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: It has a key twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise ValueError(f"{', '.join(map(repr, twice))} is given twice.")
    return found


def _gathered(parts: Iterable[tuple[str, Any, Any]], read: Callable[[Any, Any], Any]) -> list[Any]:
    """Parts of a container, each read as its type; what is wrong with any of them is told of all."""
    values, problems = [], []
    for place, data, annotation in parts:
        try:
            values.append(read(data, annotation))
        except UnreadableError as exc:
            problems += [(place + inner, message) for inner, message in exc.problems]
    if problems:
        raise UnreadableError(*problems)
    return values


def _items(data: Any, annotation: Any, kind: Any) -> Any:
    if not isinstance(data, list | set):
        raise unlike(data, "a list")
    kinds = _kinds(kind, get_args(annotation), len(data))
    parts = ((f"[{index}]", item, each) for index, (item, each) in enumerate(zip(data, kinds, strict=True)))
    found = _gathered(parts, from_data)
    try:
        return CONTAINERS[kind](found)
    except TypeError as exc:
        raise UnreadableError(("", f"it takes items that can be told apart: {exc}.")) from None


def _kinds(kind: Any, arguments: tuple[Any, ...], count: int) -> list[Any]:
    """The type of each item of a container."""
    if kind is tuple and arguments and Ellipsis not in arguments:
        if len(arguments) != count:
            raise UnreadableError(("", f"it takes {len(arguments)} items, not {count}."))
        return list(arguments)
    return [arguments[0] if arguments else Any] * count


def _mapping(data: Any, of_key: Any, of_item: Any) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise unlike(data, "a table of names and values")
    places = [f"[{shown(key)}]" for key in data]
    keys = _gathered(((place, key, of_key) for place, key in zip(places, data, strict=True)), _key)
    items = _gathered(((place, item, of_item) for place, item in zip(places, data.values(), strict=True)), from_data)
    return dict(zip(keys, items, strict=True))


def _key(key: Any, annotation: Any) -> Any:
    """A key, which files know only as text, as what it should be."""
    is_text = type(key) is str and _bare(annotation) not in (str, Any, object)
    return from_text(key, annotation) if is_text else from_data(key, annotation)


def _made(data: Any, annotation: Any) -> Any:
    """A table as an object of a class that is described by its fields."""
    if not has_fields(annotation):
        name = getattr(annotation, "__qualname__", annotation)
        raise UnreadableError(("", f"a value of {name} cannot be written in a file."))
    return _objects()(data, annotation)


@functools.cache
def _objects() -> Callable[[Any, Any], Any]:
    return reader(from_data)
