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
from typing import Any, get_args, get_origin

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
    except Exception:  # whatever is wrong with an annotation, the pipeline reports it better
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
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return _one_of(text, get_args(annotation))
    if get_origin(annotation) is typing.Literal:
        choices = get_args(annotation)
        return _chosen(text, {str(choice): choice for choice in choices}, map(repr, choices))
    if annotation is Any or annotation is object:
        return _anything(text)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = {str(member.value): member for member in annotation}
        return _chosen(text, values | dict(annotation.__members__), annotation.__members__)
    return _read(text, annotation) if annotation in READERS else _structured(text, annotation)


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


def _chosen(text: str, choices: Mapping[str, Any], shown: Iterable[str]) -> Any:
    if text not in choices:
        raise ValueError(f"it takes one of {', '.join(shown)}.")
    return choices[text]


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


READERS: Mapping[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "a text"),
    bool: (lambda text: WORDS[text.lower()], "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    datetime.date: (datetime.date.fromisoformat, "a date like 2026-01-31"),
    datetime.datetime: (datetime.datetime.fromisoformat, "a date and time like 2026-01-31T12:00"),
    datetime.time: (datetime.time.fromisoformat, "a time like 12:30"),
    pathlib.Path: (pathlib.Path, "a path"),
}
"""What reads a text as a value of a type, and what to call such a text."""


def _read(text: str, kind: type) -> Any:
    read, label = READERS[kind]
    try:
        return read(text)
    except (ValueError, KeyError):
        raise ValueError(f"it takes {label}, not {text!r}.") from None


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
    """JSON data as a value of a type: lists become the container that is asked for, texts dates, integers floats."""
    outer, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(data, str) and outer in READERS:
        return _read(data, outer)
    if type(data) is int and outer is float:
        return float(data)
    if isinstance(data, dict) and outer is dict:
        of_key, of_item = arguments or (str, Any)
        return {value_of(key, of_key): _shaped(item, of_item) for key, item in data.items()}
    if isinstance(data, list) and outer in CONTAINERS[:-1]:
        kinds = _kinds(arguments, len(data))
        return outer([_shaped(item, kind) for item, kind in zip(data, kinds, strict=True)])
    return data


def _kinds(arguments: tuple[Any, ...], count: int) -> list[Any]:
    """The type of each item of a container."""
    if len(arguments) == count and Ellipsis not in arguments:
        return list(arguments)
    return [arguments[0] if arguments else Any] * count
