"""Parameters of a pipeline from text: each is read as what the pipeline's signature says it is."""

from __future__ import annotations

import datetime
import enum
import inspect
import json
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

import click

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
NOTHING = ("none", "null", "")


def parsed(function: Callable[..., Any], pairs: Iterable[str]) -> dict[str, Any]:
    """Arguments for a pipeline's function from `name=value` texts.

    Names it does not have are passed on as they are: the pipeline refuses them, with the nearest one it has.

    Raises:
        click.UsageError: Lists every text that cannot be read as what it should be.
    """
    annotations = _annotations(function)
    arguments: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            problems.append(f"--param {pair!r} is not of the form name=value.")
        elif name in arguments:
            problems.append(f"--param {name} is given twice.")
        else:
            try:
                arguments[name] = value_of(text, annotations.get(name, str))
            except (ValueError, TypeError) as exc:
                arguments[name] = None
                problems.append(f"--param {name}={text}: {exc}")
    if problems:
        raise click.UsageError(" ".join(problems), click.get_current_context(silent=True))
    return arguments


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """What each parameter is; where nothing is said, what its default is."""
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # the pipeline reports it better
        hints = {}
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        found[name] = hints.get(name, Any if default is None else type(default))
    return found


def value_of(text: str, annotation: Any) -> Any:
    """A text as a value of a type.

    Raises:
        ValueError: It is none.
    """
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return _one_of(text, get_args(annotation))
    if get_origin(annotation) is typing.Literal:
        return _literal(text, get_args(annotation))
    if annotation is Any or annotation is object:
        return _anything(text)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _member(text, annotation)
    reader = READERS.get(annotation)
    return _structured(text, annotation) if reader is None else reader(text)


def _one_of(text: str, choices: tuple[Any, ...]) -> Any:
    """The first member that fits; text fits `str`, so that is tried last."""
    if type(None) in choices and text.lower() in NOTHING:
        return None
    problems = []
    for choice in sorted((each for each in choices if each is not type(None)), key=lambda each: each is str):
        try:
            return value_of(text, choice)
        except ValueError as exc:
            problems.append(str(exc))
    raise ValueError(" ".join(problems))


def _literal(text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if str(choice) == text:
            return choice
    raise ValueError(f"it takes one of {', '.join(map(repr, choices))}.")


def _member(text: str, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if text in (member.name, str(member.value)):
            return member
    raise ValueError(f"it takes one of {', '.join(member.name for member in kind)}.")


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _boolean(text: str) -> bool:
    if text.lower() not in WORDS:
        raise ValueError(f"it takes true or false, not {text!r}.")
    return WORDS[text.lower()]


def _reader(kind: Callable[[str], Any], label: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"it takes {label}, not {text!r}.") from None

    return read


READERS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    bool: _boolean,
    int: _reader(int, "a whole number"),
    float: _reader(float, "a number"),
    datetime.date: _reader(datetime.date.fromisoformat, "a date like 2026-01-31"),
    datetime.datetime: _reader(datetime.datetime.fromisoformat, "a date and time like 2026-01-31T12:00"),
    datetime.time: _reader(datetime.time.fromisoformat, "a time like 12:30"),
    pathlib.Path: pathlib.Path,
}

CONTAINERS = (list, tuple, set, frozenset, dict)


def _structured(text: str, annotation: Any) -> Any:
    outer = get_origin(annotation) or annotation
    if outer not in CONTAINERS:
        raise ValueError(f"a value of {getattr(outer, '__name__', outer)} cannot be written on the command line.")
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict if outer is dict else list):
        form = '{"name": value}' if outer is dict else "[1, 2, 3]"
        raise ValueError(f"it takes JSON like {form}, not {text!r}.")
    return _shaped(data, annotation)


def _shaped(data: Any, annotation: Any) -> Any:
    """JSON data as a value of a type: lists become the container that is asked for, texts dates."""
    outer, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(data, str) and outer in READERS:
        return READERS[outer](data)
    if isinstance(data, dict) and outer is dict:
        return {key: _shaped(item, arguments[1]) if arguments else item for key, item in data.items()}
    if isinstance(data, list) and outer in CONTAINERS[:-1]:
        kinds = _kinds(arguments, len(data))
        return outer([_shaped(item, kind) for item, kind in zip(data, kinds, strict=True)])
    return data


def _kinds(arguments: tuple[Any, ...], count: int) -> list[Any]:
    """The type of each item of a container."""
    if len(arguments) == count and Ellipsis not in arguments and count > 1:
        return list(arguments)
    return [arguments[0] if arguments else Any] * count
