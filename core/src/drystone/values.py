"""Python values as JSON and back, exactly: tuples stay tuples, sets sets, dataclasses dataclasses."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import attrs

from drystone.digests import SCRIPT_NAME, module_name, type_name
from drystone.errors import EncodingError

TAG = "$"
"""The key that marks an object as something JSON has no word for; dicts that hold it are written as pairs."""


def to_json(value: Any) -> Any:
    """A value as what `json` can write; `from_json` turns it back into an equal value of the same type.

    Raises:
        EncodingError: The value, or something in it, is of a type that has no exact JSON form.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if value.bit_length() <= 512 else {TAG: "int", "v": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
    if kind is list:
        return [to_json(item) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: to_json(item) for key, item in value.items()}
        return {TAG: "dict", "v": [[to_json(key), to_json(item)] for key, item in value.items()]}
    tag, encoder = _ENCODERS.get(kind, (None, None))
    if tag is not None and encoder is not None:
        return {TAG: tag, "v": encoder(value)}
    return _object(value, kind)


def from_json(data: Any) -> Any:
    """The value that `to_json` wrote.

    Raises:
        EncodingError: It names a class that does not exist here, or something that is no plain data class.
    """
    if isinstance(data, list):
        return [from_json(item) for item in data]
    if not isinstance(data, dict):
        return data
    if TAG not in data:
        return {key: from_json(item) for key, item in data.items()}
    decoder = _DECODERS.get(data[TAG])
    if decoder is None:
        raise EncodingError(f"This value was written by another version of Drystone: it holds a {data[TAG]!r}.")
    return decoder(data)


def dumps(data: Any) -> str:
    """Compact JSON text, the same for the same data."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def class_name(cls: type) -> str:
    """`module:Qual.Name`, from which `find_class` finds the class again."""
    return f"{module_name(cls.__module__)}:{cls.__qualname__}"


def find_class(name: str) -> type:
    """The class that `class_name` named.

    Raises:
        EncodingError: It cannot be imported here.
    """
    module, _, qualified = name.partition(":")
    main = sys.modules.get("__main__")
    try:
        found: Any = main if getattr(main, SCRIPT_NAME, None) == module else import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as exc:
        raise EncodingError(
            f"This value is of class {qualified} from {module}, which cannot be imported here ({exc}). Run from the "
            "project that defines it, or install that project."
        ) from exc
    if not isinstance(found, type):
        raise EncodingError(f"{name} is not a class.")
    return found


def _object(value: Any, kind: type) -> Any:
    if kind.__qualname__.partition("<locals>")[1]:
        raise EncodingError(f"The class {kind.__qualname__} is defined inside a function, so nothing could load it.")
    name = class_name(kind)
    if isinstance(value, enum.Enum):  # combined flags are no members: they are kept by value
        member = value.name in type(value).__members__
        return {TAG: "enum", "type": name, "v": value.name if member else [to_json(value.value)]}
    if attrs.has(kind):
        return {TAG: "object", "type": name, "v": _state(value, kind, [each.name for each in attrs.fields(kind)])}
    if dataclasses.is_dataclass(kind):
        return {TAG: "object", "type": name, "v": _state(value, kind, [each.name for each in dataclasses.fields(kind)])}
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return {TAG: "namedtuple", "type": name, "v": [to_json(item) for item in value]}
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
        return {TAG: "numpy", "dtype": value.dtype.str, "v": base64.b64encode(value.tobytes()).decode()}
    for path, cls in _PATHS.items():
        if kind is cls:
            return {TAG: "path", "type": path, "v": str(value)}
    raise EncodingError(f"A value of type {name.replace(':', '.')} has no exact JSON form.")


def _state(value: Any, kind: type, fields: list[str]) -> dict[str, Any]:
    """The fields of a data class, if they are all there is to it."""
    other = [f"it holds {name!r} besides" for name in getattr(value, "__dict__", ()) if _surplus(name, kind, fields)]
    other += [f"{name!r} is not set" for name in fields if not hasattr(value, name)]
    try:
        object.__new__(kind)  # as loading will; exceptions and subclasses of containers refuse it
    except TypeError:
        other.append("it inherits from a built-in class")
    if other:
        raise EncodingError(f"A {type_name(kind)} has no exact JSON form, since it is not just its fields: {other[0]}.")
    return {name: to_json(getattr(value, name)) for name in fields}


def _surplus(name: str, kind: type, fields: list[str]) -> bool:
    return name not in fields and not isinstance(getattr(kind, name, None), functools.cached_property)


def _sorted(values: Any) -> list[Any]:
    return sorted((to_json(item) for item in values), key=dumps)


def _zone(value: datetime.datetime | datetime.time) -> Any:
    zone = value.tzinfo
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return {"zone": zone.key}
    if zone is None or (type(zone) is datetime.timezone and "'" not in repr(zone)):  # quotes: it has a name of its own
        return None
    raise EncodingError(f"The time zone {zone!r} is neither a plain offset nor a named zone of zoneinfo.")


def _time(value: datetime.datetime | datetime.time) -> list[Any]:
    return [value.isoformat(), value.fold, _zone(value)]


def _untimed(kind: type[datetime.datetime] | type[datetime.time], data: list[Any]) -> Any:
    text, fold, zone = data
    value = kind.fromisoformat(text).replace(fold=fold)
    return value.replace(tzinfo=zoneinfo.ZoneInfo(zone["zone"])) if zone else value


def _construct(data: Mapping[str, Any]) -> Any:
    cls = find_class(data["type"])
    values = {name: from_json(item) for name, item in data["v"].items()}
    if attrs.has(cls):
        known = [each.name for each in attrs.fields(cls)]
    elif dataclasses.is_dataclass(cls):
        known = [each.name for each in dataclasses.fields(cls)]
    else:
        raise EncodingError(f"{data['type']} is neither an attrs class nor a dataclass any more.")
    if sorted(known) != sorted(values):
        raise EncodingError(
            f"{data['type']} has the fields {', '.join(known)}; the stored value has {', '.join(values)}. Its class "
            "changed since: run what made the value again."
        )
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _member(data: Mapping[str, Any]) -> Any:
    cls: Any = find_class(data["type"])
    if not issubclass(cls, enum.Enum):
        raise EncodingError(f"{data['type']} is not an enum any more.")
    return cls[data["v"]] if isinstance(data["v"], str) else cls(from_json(data["v"][0]))


def _named_tuple(data: Mapping[str, Any]) -> Any:
    cls: Any = find_class(data["type"])
    if not (issubclass(cls, tuple) and hasattr(cls, "_make")):
        raise EncodingError(f"{data['type']} is not a named tuple any more.")
    return cls._make(from_json(item) for item in data["v"])


def _numpy_scalar(data: Mapping[str, Any]) -> Any:
    numpy = import_module("numpy")
    return numpy.ndarray((), data["dtype"], base64.b64decode(data["v"]) or b"\0")[()]


_PATHS: dict[str, type[pathlib.PurePath]] = {
    "Path": type(pathlib.Path()),
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
}
"""The classes of paths; a path of one system is read as one of the system that reads it."""


_ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    tuple: ("tuple", lambda value: [to_json(item) for item in value]),
    set: ("set", _sorted),
    frozenset: ("frozenset", _sorted),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    bytearray: ("bytearray", lambda value: base64.b64encode(value).decode()),
    complex: ("complex", lambda value: [to_json(value.real), to_json(value.imag)]),
    datetime.datetime: ("datetime", _time),
    datetime.date: ("date", lambda value: value.isoformat()),
    datetime.time: ("time", _time),
    datetime.timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    decimal.Decimal: ("decimal", str),
    uuid.UUID: ("uuid", str),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda data: int(data["v"], 16),
    "float": lambda data: float(data["v"]),
    "dict": lambda data: {from_json(key): from_json(item) for key, item in data["v"]},
    "tuple": lambda data: tuple(from_json(item) for item in data["v"]),
    "set": lambda data: {from_json(item) for item in data["v"]},
    "frozenset": lambda data: frozenset(from_json(item) for item in data["v"]),
    "bytes": lambda data: base64.b64decode(data["v"]),
    "bytearray": lambda data: bytearray(base64.b64decode(data["v"])),
    "complex": lambda data: complex(*(from_json(part) for part in data["v"])),
    "datetime": lambda data: _untimed(datetime.datetime, data["v"]),
    "date": lambda data: datetime.date.fromisoformat(data["v"]),
    "time": lambda data: _untimed(datetime.time, data["v"]),
    "timedelta": lambda data: datetime.timedelta(*data["v"]),
    "decimal": lambda data: decimal.Decimal(data["v"]),
    "uuid": lambda data: uuid.UUID(data["v"]),
    "range": lambda data: range(*data["v"]),
    "path": lambda data: _PATHS[data["type"]](data["v"]),
    "object": _construct,
    "enum": _member,
    "namedtuple": _named_tuple,
    "numpy": _numpy_scalar,
}
