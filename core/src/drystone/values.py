"""Python values as JSON and back, exactly: tuples stay tuples, sets sets, dataclasses dataclasses."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

from drystone.digests import (
    RULES,
    SCRIPT_NAME,
    Rule,
    besides,
    encode,
    fields_of,
    inherited_rule,
    is_plain,
    module_name,
    rule_of,
    type_name,
)
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
    return {TAG: rule.tag, "v": _listed(value, rule)}


def _listed(value: Any, rule: Rule) -> list[Any]:
    parts = rule.apart(value)
    listed = [to_json(item) for item in (map(list, parts.items()) if rule.tag == "dict" else parts)]
    return sorted(listed, key=dumps) if rule.tag in ("set", "frozenset") else listed


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


_FILLED = (list, dict, set, bytearray)
_BASES = {each.__name__: each for each in (*_FILLED, str, bytes, int, float, complex, tuple, frozenset)}
"""Built-in classes whose subclasses can be made without calling anything of theirs."""

_KINDS = {
    "enum": "an enum",
    "object": "an attrs class, a dataclass or a named tuple",
    "numpy": "a scalar of numpy",
    "sub": "a subclass of a built-in class",
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
    rule = inherited_rule(kind)
    if rule is not None and rule.tag in _BASES:
        content = [_listed(value, rule), to_json(besides(value))]
        data = {TAG: "sub", "type": class_name(kind), "of": rule.tag, "v": content}
        if _is_exact(data, value):
            return data
    raise EncodingError(f"A value of type {type_name(kind)} has no exact JSON form.")


def may_be_exact(cls: type) -> bool:
    """Whether some values of a class, or of those that are derived from it so far, may have an exact JSON form."""
    known = is_plain(cls) or inherited_rule(cls) is not None or _field_names(cls) is not None
    return known or issubclass(cls, enum.Enum) or any(map(may_be_exact, cls.__subclasses__()))


def _restored(tag: str, data: Mapping[str, Any]) -> Any:
    content = from_json(data["v"])
    if tag == "numpy":
        return import_module("numpy").ndarray((), data["dtype"], content or b"\0")[()]
    cls: Any = find_class(data["type"])
    if tag == "sub" and issubclass(cls, _BASES[data["of"]]):
        return _made_of(cls, data["of"], *content)
    if tag == "enum" and issubclass(cls, enum.Enum):
        return cls[content] if isinstance(content, str) else cls(*content)
    fields = _field_names(cls)
    if tag != "object" or fields is None:
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
    other = [f"it holds {name!r} besides" for name in besides(value)]
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


def _made_of(cls: Any, of: str, parts: list[Any], held: Mapping[str, Any]) -> Any:
    """An instance of a subclass of a built-in class, from that class's content and the attributes it holds besides."""
    base: Any = _BASES[of]
    content = RULES[of].together(base, parts)
    made = base.__new__(cls) if base in _FILLED else base.__new__(cls, content)
    if base in _FILLED:
        base.__init__(made, content)
    for name, value in held.items():
        object.__setattr__(made, name, value)
    return made


def _is_exact(data: Any, value: Any) -> bool:
    """Whether what was written is all of a value: the class may keep more than Python shows."""
    try:
        return encode(from_json(data)) == encode(value)
    except TypeError:  # it is not made like this
        return False
