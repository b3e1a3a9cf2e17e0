"""Python values as JSON and back, exactly: tuples stay tuples, sets sets, dataclasses dataclasses."""

from __future__ import annotations

import enum
import functools
import json
import math
import sys
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

from drystone.digests import RULES, SCRIPT_NAME, fields_of, module_name, rule_of, type_name
from drystone.errors import EncodingError

TAG = "$"
"""The key that marks an object as something JSON has no word for; dicts that hold it are written as pairs."""


def to_json(value: Any) -> Any:
    """A value as what `json` can write; `from_json` turns it back into an equal value of the same type.

    Raises:
        EncodingError: The value, or something in it, is of a type that has no exact JSON form.
    """
    kind: type = type(value)
    if value is None or kind in (bool, str):
        return value
    if (kind is int and value.bit_length() <= 512) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [to_json(item) for item in value]
    if kind is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: to_json(item) for key, item in value.items()}
    rule = rule_of(kind)
    if rule is None:
        return _object(value, kind)
    parts = rule.apart(value)
    listed = [to_json(item) for item in (map(list, parts.items()) if kind is dict else parts)]
    return {TAG: rule.tag, "v": sorted(listed, key=dumps) if kind in (set, frozenset) else listed}


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
    tag = data[TAG]
    if tag in RULES:
        return RULES[tag].together(find_class(tag if ":" in tag else f"builtins:{tag}"), from_json(data["v"]))
    if tag in _KINDS:
        return _restored(tag, data)
    raise EncodingError(f"This value was written by another version of Drystone: it holds a {tag!r}.")


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
        home = main if getattr(main, SCRIPT_NAME, None) == module else import_module(module)
        found = attrgetter(qualified)(home)
    except (ImportError, AttributeError) as exc:
        raise EncodingError(
            f"This value is of class {qualified} from {module}, which cannot be imported here ({exc}). Run from the "
            "project that defines it, or install that project."
        ) from exc
    if not isinstance(found, type):
        raise EncodingError(f"{name} is not a class.")
    return found


_KINDS = {
    "enum": "an enum",
    "object": "an attrs class, a dataclass or a named tuple",
    "numpy": "a scalar of numpy",
}
"""What is told from others by its class, beside the rules."""


def _object(value: Any, kind: type) -> Any:
    if "<locals>" in kind.__qualname__:
        raise EncodingError(f"The class {kind.__qualname__} is defined inside a function, so nothing could load it.")
    if isinstance(value, enum.Enum):  # combined flags are no members: they are kept by value
        member = value.name in type(value).__members__
        return {TAG: "enum", "type": class_name(kind), "v": value.name if member else [to_json(value.value)]}
    fields = _field_names(kind)
    if fields is not None:
        return {TAG: "object", "type": class_name(kind), "v": to_json(_state(value, kind, fields))}
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
        return {TAG: "numpy", "dtype": value.dtype.str, "v": to_json(value.tobytes())}
    raise EncodingError(f"A value of type {type_name(kind)} has no exact JSON form.")


def _restored(tag: str, data: Mapping[str, Any]) -> Any:
    content = from_json(data["v"])
    if tag == "numpy":
        return import_module("numpy").ndarray((), data["dtype"], content or b"\0")[()]
    cls: Any = find_class(data["type"])
    if tag == "enum" and issubclass(cls, enum.Enum):
        return cls[content] if isinstance(content, str) else cls(*content)
    fields = _field_names(cls)
    if tag == "enum" or fields is None:
        raise EncodingError(f"{data['type']} is not {_KINDS[tag]} any more.")
    if sorted(fields) != sorted(content):
        raise EncodingError(
            f"{data['type']} has the fields {', '.join(fields)}; the stored value has {', '.join(content)}. "
            "Its class changed since: run what made the value again."
        )
    return _made(cls, content)


def _field_names(cls: Any) -> list[str] | None:
    fields = cls._fields if issubclass(cls, tuple) and hasattr(cls, "_make") else fields_of(cls)
    return None if fields is None else list(fields)


def _state(value: Any, kind: type, fields: list[str]) -> dict[str, Any]:
    """The fields of a data class, if they are all there is to it."""
    besides = [name for name in getattr(value, "__dict__", {}) if name not in fields]
    cached = [name for name in besides if isinstance(getattr(kind, name, None), functools.cached_property)]
    other = [f"it holds {name!r} besides" for name in besides if name not in cached]
    other += [f"{name!r} is not set" for name in fields if not hasattr(value, name)]
    state = {name: getattr(value, name, None) for name in fields}
    try:
        _made(kind, state)
    except TypeError:  # exceptions and subclasses of containers are not made like this
        other.append("it inherits from a built-in class")
    if other:
        raise EncodingError(f"A {type_name(kind)} has no exact JSON form, since it is not just its fields: {other[0]}.")
    return state


def _made(cls: Any, state: Mapping[str, Any]) -> Any:
    if issubclass(cls, tuple):
        return cls._make(state[name] for name in cls._fields)
    made = object.__new__(cls)
    for name, value in state.items():
        object.__setattr__(made, name, value)
    return made
