"""Digests, and the canonical encoding of values that they are taken of.

The encoding is type-tagged and length-framed: no two values that differ share one (`1`, `"1"`, `True`, `1.0`, `(1,)`,
`[1]` and `{1}` all differ, and so do `("ab", "c")` and `("a", "bc")`), and equal values have the same one in every
process, whatever the hash seed and the order in which a set or a dict was filled.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import re
import struct
import sys
import types
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import attrs
from blake3 import blake3

from drystone.errors import EncodingError

DIGEST_LENGTH = 64

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
    """How values of one class are taken apart, into a sequence, a set or a dict of simpler ones, and put together."""

    tag: str
    apart: Callable[[Any], Any]
    together: Callable[[Any, Any], Any]


def _spread(cls: Any, parts: Any) -> Any:
    return cls(*parts)


def _gathered(cls: Any, parts: Any) -> Any:
    return cls(parts)


def _moment_parts(value: Any) -> tuple[str, datetime.tzinfo | None, int]:
    return value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold


def _moment(cls: Any, parts: Any) -> Any:
    text, zone, fold = parts
    return cls.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _zone_key(zone: Any) -> tuple[str]:
    if zone.key is None:
        raise _unknown_zone(zone)
    return (zone.key,)


def _unknown_zone(zone: datetime.tzinfo) -> EncodingError:
    return EncodingError(
        f"The time zone {zone!r} has no deterministic encoding. Use datetime.timezone, or zoneinfo.ZoneInfo by key."
    )


RULES = {
    tag: Rule(tag, apart, together)
    for tags, apart, together in (
        ("list tuple set frozenset dict", lambda value: value, _gathered),
        ("complex", attrgetter("real", "imag"), _spread),
        ("bytearray", lambda value: (bytes(value),), _spread),
        ("range slice", attrgetter("start", "stop", "step"), _spread),
        ("datetime:datetime datetime:time", _moment_parts, _moment),
        ("datetime:date", attrgetter("year", "month", "day"), _spread),
        ("datetime:timedelta", attrgetter("days", "seconds", "microseconds"), _spread),
        ("datetime:timezone", lambda value: value.__getinitargs__(), _spread),
        ("zoneinfo:ZoneInfo", _zone_key, _spread),
        ("fractions:Fraction", attrgetter("numerator", "denominator"), _spread),
        ("decimal:Decimal uuid:UUID", lambda value: (str(value),), _spread),
        ("pathlib:PosixPath pathlib:PurePosixPath pathlib:PureWindowsPath", lambda value: (str(value),), _spread),
        ("re:Pattern", attrgetter("pattern", "flags"), lambda _, parts: re.compile(*parts)),
    )
    for tag in tags.split()
}
"""The one table of composed values, by the names of their classes, so that no module is imported for it."""


@functools.lru_cache(maxsize=1024)
def rule_of(cls: type) -> Rule | None:
    """The rule of exactly this class."""
    module = cls.__module__.removesuffix("._local")  # where Python 3.13 has the classes of pathlib
    return RULES.get(cls.__qualname__ if module == "builtins" else f"{module}:{cls.__qualname__}")


def fields_of(cls: type) -> tuple[Any, ...] | None:
    """The fields of an attrs class or a dataclass, None for any other class."""
    if attrs.has(cls):
        return tuple(attrs.fields(cls))
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else None


def _float(value: float) -> bytes:
    return struct.pack(">d", value) if value == value else b"nan"


def _integer(value: int) -> bytes:
    """Decimal, or hexadecimal where the decimal digits would be too many for Python to write."""
    return b"%d" % value if value.bit_length() < 4096 else hex(value).encode()


_ATOMS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (b"s", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"y", bytes),
    bool: (b"b", lambda value: b"1" if value else b"0"),
    int: (b"i", _integer),
    float: (b"f", _float),
    type(None): (b"N", lambda value: b""),
    type(...): (b"...", lambda value: b""),
}


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
            places = [*self.above.values(), place][1:]
            where = "".join(f"[{each!r}]" for each in places)
            raise EncodingError(f"value{where} contains itself, so it has no finite encoding.")
        self.above[id(value)] = place
        rule = rule_of(kind)
        framed = frame(rule.tag.encode(), *self.inside(rule.apart(value))) if rule else self.classed(value, kind)
        del self.above[id(value)]
        return framed

    def inside(self, parts: Any) -> list[bytes]:
        if isinstance(parts, dict):
            pairs = sorted([(self.encoded(key, key), self.encoded(item, key)) for key, item in parts.items()])
            return [each for pair in pairs for each in pair]
        listed = [self.encoded(item, index) for index, item in enumerate(parts)]
        return sorted(listed) if isinstance(parts, set | frozenset) else listed

    def classed(self, value: Any, kind: type) -> bytes:
        """Values told apart by their class: its name goes first, then what is inside."""
        name = type_name(kind).encode()
        if isinstance(value, enum.Enum):
            return frame(b"enum", name, *self.inside((value.name, value.value)))
        if isinstance(value, type):
            return frame(b"type", type_name(value).encode())
        if isinstance(value, types.GenericAlias | types.UnionType) or kind.__module__ == "typing":
            return frame(b"annotation", repr(value).encode())
        fields = fields_of(kind)
        if fields is not None:  # a field of attrs that is neither compared nor shown is private state
            counted = [field.name for field in fields if getattr(field, "eq", True) or field.repr]
            return frame(b"object", name, *self.inside({each: getattr(value, each) for each in counted}))
        if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
            content = value.ravel().tolist() if value.dtype.hasobject else [value.tobytes()]
            return frame(b"numpy", name, *self.inside([str(value.dtype.descr), value.shape, *content]))
        if kind.__module__ == "numpy.dtypes":
            return frame(b"dtype", name, repr(value).encode())
        return self.subclassed(value, kind, name)

    def subclassed(self, value: Any, kind: type, name: bytes) -> bytes:
        """Subclasses of built-in types, with the attributes they carry."""
        base = next((each for each in kind.__mro__ if each in _ATOMS or rule_of(each)), None)
        if base is not None:
            noted = ("_fields", "default_factory", "nanoseconds")  # of named tuples, defaultdict, pandas.Timedelta
            extra = vars(value) if hasattr(value, "__dict__") else {}
            extra = {**extra, **{each: getattr(value, each) for each in noted if hasattr(value, each)}}
            if isinstance(value, collections.OrderedDict):  # two of them with another order are not equal
                extra["order"] = tuple(value)
            rule = rule_of(base)
            inside = self.inside(rule.apart(value)) if rule else [_ATOMS[base][1](value)]
            return frame(b"sub", name, frame(b"", *inside), *self.inside(extra))
        if isinstance(value, datetime.tzinfo):
            if " at 0x" in repr(value):  # an address, another one in each process
                raise _unknown_zone(value)
            return frame(b"tz", name, repr(value).encode())
        raise EncodingError(
            f"A value of type {type_name(kind)} has no deterministic encoding. Values that have one: None, booleans, "
            "numbers, strings, bytes, dates, paths, enums, containers of these, dataclasses and attrs classes. "
            "Anything else travels as an artifact: save_artifact(value, name) and pass the version it returns."
        )
