"""Digests, and the canonical encoding of values that they are taken of.

The encoding is type-tagged and length-framed: no two values that differ share one (`1`, `"1"`, `True`, `1.0`, `(1,)`,
`[1]` and `{1}` all differ, and so do `("ab", "c")` and `("a", "bc")`), and equal values have the same one in every
process, whatever the hash seed and the order in which a set or a dict was filled.

Values differ here though `==` calls them equal where a step could tell them apart: by their class (a subclass, an enum
member and the value behind it), `0.0` and `-0.0`, one instant in two time zones, `Decimal("1.0")` and `Decimal("1")`,
ordered dicts in another order. All NaN of Python are one; numbers of numpy are their bytes.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import itertools
import re
import sys
import types
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

import attrs
from blake3 import blake3

from drystone.errors import EncodingError

SCRIPT_NAME = "__drystone_name__"
"""The attribute of `__main__` in which the driver notes the script's canonical name, as in `flights.pipelines`."""

Custom = Callable[[object], "bytes | None"]
"""Encodes what it knows better than the built-in rules; answers None for the rest."""


def digest_bytes(data: bytes | memoryview) -> str:
    """The BLAKE3 digest of some bytes, as 64 hexadecimal characters."""
    return blake3(data).hexdigest()


def digest_value(value: object) -> str:
    """The digest of a value's canonical encoding."""
    return blake3(encode(value)).hexdigest()


def encode(value: object, custom: Custom | None = None) -> bytes:
    """The canonical encoding of a value.

    Takes None, booleans, numbers, strings, bytes, dates and times, paths, enum members, UUIDs, regular expressions,
    ranges and slices, the built-in containers, named tuples, dataclasses, attrs classes, numpy scalars and arrays
    without objects, types, and subclasses of these (tagged with their class).

    Args:
        value: What to encode.
        custom: Asked first about the value and everything inside it.

    Raises:
        EncodingError: Something in the value has no deterministic encoding.
    """
    try:
        return _Encoder(custom).encoded(value, None)
    except RecursionError:
        raise EncodingError("The value is nested too deeply to be encoded.") from None


def frame(tag: bytes, *parts: bytes) -> bytes:
    """A tag and its parts, each behind its length, so that no two sequences of parts read alike."""
    return b"%b(%d:%b)" % (tag, len(parts), b"".join([b"%d:%b" % (len(part), part) for part in parts]))


def module_name(name: str) -> str:
    """The canonical name of a module: its own, or for a script the one it would be imported by."""
    return getattr(sys.modules.get(name), SCRIPT_NAME, name) if name == "__main__" else name


def type_name(cls: type) -> str:
    """The canonical name of a class, `module.Qual.Name`, the same whether its script was run or imported."""
    return f"{module_name(cls.__module__)}.{cls.__qualname__}"


class Rule(NamedTuple):
    """How values of one class are taken apart, into a plain container of simpler ones, and put together."""

    tag: str
    apart: Callable[[Any], Any]
    together: Callable[[Any, Any], Any] = lambda cls, parts: cls(*parts)


def _refuse_zone(zone: datetime.tzinfo) -> NoReturn:
    raise EncodingError(
        f"The time zone {zone!r} has no deterministic encoding. Use datetime.timezone, or zoneinfo.ZoneInfo by key."
    )


_TABLE = (
    *(Rule(each.__name__, each, lambda cls, parts: cls(parts)) for each in (list, tuple, set, frozenset, dict)),
    Rule("int", lambda value: (hex(value),), lambda cls, parts: cls(parts[0], 16)),
    Rule("str", lambda value: (str.__str__(value),)),
    Rule("float", lambda value: (float.__repr__(value),)),
    Rule("decimal:Decimal uuid:UUID", lambda value: (str(value),)),
    Rule("pathlib:PosixPath pathlib:PurePosixPath pathlib:PureWindowsPath", lambda value: (str(value),)),
    Rule("bytes", lambda value: (b64encode(value).decode(),), lambda cls, parts: b64decode(*parts)),
    Rule("bytearray", lambda value: (bytes(value),)),
    Rule("complex", attrgetter("real", "imag")),
    Rule("fractions:Fraction", attrgetter("numerator", "denominator")),
    Rule("range slice", attrgetter("start", "stop", "step")),
    Rule("datetime:date", attrgetter("year", "month", "day")),
    Rule(
        "datetime:datetime datetime:time",
        lambda value: (value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold),
        lambda cls, parts: cls.fromisoformat(parts[0]).replace(tzinfo=parts[1], fold=parts[2]),
    ),
    Rule("datetime:timedelta", attrgetter("days", "seconds", "microseconds")),
    Rule("datetime:timezone", lambda value: value.__getinitargs__()),
    Rule("zoneinfo:ZoneInfo", lambda value: (value.key or _refuse_zone(value),)),
    Rule("collections:OrderedDict", lambda value: (list(value.items()),)),
    Rule("collections:deque", lambda value: (list(value), value.maxlen)),
    Rule("re:Pattern", attrgetter("pattern", "flags"), lambda cls, parts: re.compile(*parts)),
)
RULES = {tag: rule._replace(tag=tag) for rule in _TABLE for tag in rule.tag.split()}
"""How values are taken apart, by the names of their classes, so that no module is imported for a table."""

_ATOMS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (b"s", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"y", bytes),
    bool: (b"b", lambda value: b"%d" % value),
    int: (b"i", lambda value: b"%x" % value),
    float: (b"f", lambda value: float.hex(value).encode()),
    type(None): (b"N", lambda value: b""),
    type(...): (b"...", lambda value: b""),
}
"""What an encoding ends in."""


@functools.lru_cache(maxsize=1024)
def rule_of(cls: type) -> Rule | None:
    """The rule of exactly this class."""
    module = cls.__module__
    if not isinstance(module, str):  # but a slot of that name, as in pandas 2
        return None
    module = module.removesuffix("._local")  # where Python 3.13 has the classes of pathlib
    return RULES.get(cls.__qualname__ if module == "builtins" else f"{module}:{cls.__qualname__}")


@functools.lru_cache(maxsize=1024)
def inherited_rule(cls: type) -> Rule | None:
    """The rule of this class, or of the nearest above it."""
    return next(filter(None, map(rule_of, cls.__mro__)), None)


def is_plain(cls: type) -> bool:
    """Whether values of exactly this class are encoded by what they hold alone."""
    return cls in _ATOMS or rule_of(cls) is not None


def fields_of(cls: type) -> dict[str, bool] | None:
    """The fields of an attrs class or a dataclass and whether they count, None for any other class."""
    if attrs.has(cls):  # what is neither compared nor shown is private state
        return {field.name: bool(field.eq or field.repr) for field in attrs.fields(cls)}
    return {field.name: True for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else None


class _Encoder:
    """Encodes one value and everything inside it."""

    def __init__(self, custom: Custom | None) -> None:
        self.custom = custom
        self.above: dict[int, object] = {}  # what is being encoded, by identity, and its place in the one above

    def encoded(self, value: Any, place: object) -> bytes:
        if self.custom is not None and (known := self.custom(value)) is not None:
            return known
        kind: type = type(value)
        if kind in _ATOMS:
            tag, plain = _ATOMS[kind]
            data = plain(value)
            return b"%b%d:%b" % (tag, len(data), data)
        if id(value) in self.above:
            where = "".join(f"[{each!r}]" for each in [*self.above.values(), place][1:])
            raise EncodingError(f"value{where} contains itself, so it has no finite encoding.")
        self.above[id(value)] = place
        rule = rule_of(kind)
        if rule is not None:
            framed = frame(rule.tag.encode(), *self.inside(rule.apart(value)))
        else:
            tag, parts = _classed(value, kind)
            framed = frame(tag, type_name(kind).encode(), *self.inside(parts))
        del self.above[id(value)]
        return framed

    def inside(self, parts: Any) -> list[bytes]:
        if isinstance(parts, dict):
            pairs = sorted([(self.encoded(key, key), self.encoded(item, key)) for key, item in parts.items()])
            return [each for pair in pairs for each in pair]
        listed = [self.encoded(item, index) for index, item in enumerate(parts)]
        return sorted(listed) if isinstance(parts, set | frozenset) else listed


def _classed(value: Any, kind: type) -> tuple[bytes, Any]:
    """A tag and the parts of a value that is told from others by its class."""
    if isinstance(value, enum.Enum):
        return b"enum", (value.name, value.value)
    if isinstance(value, type):
        return b"type", (type_name(value),)
    if isinstance(value, types.GenericAlias | types.UnionType) or kind.__module__ in ("typing", "numpy.dtypes"):
        return b"shown", (repr(value),)
    if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
        content = value.ravel().tolist() if value.dtype.hasobject else value.tobytes()
        return b"numpy", (str(value.dtype.descr), value.shape, content)
    fields, rule = fields_of(kind), inherited_rule(kind)
    if fields is not None or rule is not None:
        counted = [name for name, counts in (fields or {}).items() if counts]
        return b"object", (_held(value, counted), _held(value, _NOTED), besides(value), rule and rule.apart(value))
    if isinstance(value, datetime.tzinfo):
        return b"shown", (_refuse_zone(value) if " at 0x" in repr(value) else repr(value),)  # by its address
    raise EncodingError(
        f"A value of type {type_name(kind)} has no deterministic encoding. Values that have one: None, booleans, "
        "numbers, strings, bytes, dates, paths, enums, containers of these, dataclasses and attrs classes. "
        "Anything else travels as an artifact: save_artifact(value, name) and pass the version it returns."
    )


_NOTED = ("_fields", "nanoseconds")
"""What named tuples and pandas.Timedelta hold besides the content of their built-in class."""


def _held(value: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def besides(value: Any) -> dict[str, Any]:
    """The attributes of a value that are neither its fields nor what a property keeps there.

    With its fields, or with the content of the built-in class that it inherits from, they are all there is to it.
    """
    kind = type(value)
    held = {**_in_slots(value, kind), **getattr(value, "__dict__", {})}
    known = fields_of(kind) or {}
    return {
        name: each
        for name, each in held.items()
        if name not in known
        and name != "__orig_class__"  # how a generic class was called
        and not isinstance(getattr(kind, name, None), functools.cached_property)
    }


def _in_slots(value: Any, kind: type) -> dict[str, Any]:
    """What a class that inherits from a built-in one keeps in slots of its own."""
    if inherited_rule(kind) is None:
        return {}
    own = itertools.takewhile(lambda base: rule_of(base) is None, kind.__mro__)
    slots = [name for base in own for name, each in vars(base).items() if isinstance(each, types.MemberDescriptorType)]
    return _held(value, slots)
