"""Digests, and the canonical encoding of values that they are taken of.

The encoding is type-tagged and length-framed: no two values that differ share one (`1`, `"1"`, `True`, `1.0`, `(1,)`,
`[1]` and `{1}` all differ, and so do `("ab", "c")` and `("a", "bc")`), and equal values have the same one in every
process, whatever the hash seed and the order in which a set or a dict was filled.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import struct
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
from blake3 import blake3

from drystone.errors import EncodingError

DIGEST_LENGTH = 64

SCRIPT_NAME = "__drystone_name__"
"""The attribute of `__main__` in which the driver notes the script's canonical name, as in `flights.pipelines`."""


def digest_bytes(data: bytes | memoryview) -> str:
    """The BLAKE3 digest of some bytes, as 64 hexadecimal characters."""
    return blake3(data).hexdigest()


def digest_value(value: object, custom: Custom | None = None) -> str:
    """The digest of a value's canonical encoding.

    Args:
        value: Any value that `encode` takes.
        custom: As for `encode`.

    Raises:
        EncodingError: The value has no deterministic encoding.
    """
    return blake3(encode(value, custom)).hexdigest()


Custom = Callable[[object], "bytes | None"]
"""Encodes what it knows better than the built-in rules; answers None for the rest."""


def encode(value: object, custom: Custom | None = None) -> bytes:
    """The canonical encoding of a value.

    Takes None, booleans, numbers, strings, bytes, dates and times, paths, enum members, UUIDs, regular expressions,
    ranges and slices, the built-in containers, named tuples, dataclasses, attrs classes, numpy scalars and arrays
    without objects, types, and subclasses of these (tagged with their class).

    Args:
        value: What to encode.
        custom: Asked first about the value and everything inside it.

    Raises:
        EncodingError: Something in the value has no deterministic encoding; the message says where.
    """
    try:
        return b"".join(_encoded(value, custom or _nothing, "value", ()))
    except RecursionError:
        raise EncodingError("The value is nested too deeply to be encoded.") from None


def module_name(name: str) -> str:
    """The canonical name of a module: its own, or for a script the one it would be imported by."""
    return getattr(sys.modules.get(name), SCRIPT_NAME, name) if name == "__main__" else name


def type_name(cls: type) -> str:
    """The canonical name of a class, `module.Qual.Name`, the same whether its script was run or imported."""
    return f"{module_name(cls.__module__)}.{cls.__qualname__}"


def frame(tag: bytes, *parts: bytes) -> bytes:
    """A tag and its parts, each behind its length, so that no two sequences of parts read alike."""
    return b"".join(_framed(tag, parts))


def _framed(tag: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    listed = list(parts)
    yield b"%b(%d:" % (tag, len(listed))
    for part in listed:
        yield b"%d:" % len(part)
        yield part
    yield b")"


def _nothing(value: object) -> None:
    return None


def _encoded(value: object, custom: Custom, place: str, above: tuple[int, ...]) -> Iterable[bytes]:
    known = custom(value)
    if known is not None:
        return (known,)
    kind = type(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return _framed(*scalar(value))
    if id(value) in above:
        raise EncodingError(f"{place} contains itself, so it has no finite encoding.")
    return _compound(value, custom, place, (*above, id(value)))


def _compound(value: Any, custom: Custom, place: str, above: tuple[int, ...]) -> Iterable[bytes]:
    def inner(item: object, where: str) -> bytes:
        return b"".join(_encoded(item, custom, f"{place}{where}", above))

    def sequence(items: Iterable[object]) -> list[bytes]:
        return [inner(item, f"[{index}]") for index, item in enumerate(items)]

    def mapping(items: Iterable[tuple[object, object]]) -> list[bytes]:
        pairs = sorted((inner(key, " key"), inner(item, f"[{key!r}]")) for key, item in items)
        return [part for pair in pairs for part in pair]

    kind = type(value)
    if kind is list or kind is tuple:
        return _framed(b"L" if kind is list else b"T", sequence(value))
    if kind is dict:
        return _framed(b"M", mapping(value.items()))
    if kind is set or kind is frozenset:
        return _framed(b"S" if kind is set else b"F", sorted(sequence(value)))
    if kind is slice:
        return _framed(b"slice", sequence((value.start, value.stop, value.step)))
    return _classed(value, kind, inner, sequence, mapping)


def _classed(
    value: Any,
    kind: type,
    inner: Callable[[object, str], bytes],
    sequence: Callable[[Iterable[object]], list[bytes]],
    mapping: Callable[[Iterable[tuple[object, object]]], list[bytes]],
) -> Iterable[bytes]:
    """Values told apart by their class: its name goes first, then what is inside."""
    name = type_name(kind).encode()
    if isinstance(value, enum.Enum):
        return _framed(b"enum", [name, (value.name or "").encode(), inner(value.value, ".value")])
    if isinstance(value, type):
        return _framed(b"type", [type_name(value).encode()])
    if isinstance(value, types.GenericAlias | types.UnionType) or kind.__module__ == "typing":
        return _framed(b"annotation", [repr(value).encode()])
    if attrs.has(kind):
        fields = [(field.name, getattr(value, field.name)) for field in attrs.fields(kind) if field.eq or field.repr]
        return _framed(b"attrs", [name, *mapping(fields)])
    if dataclasses.is_dataclass(kind):
        fields = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(kind)]
        return _framed(b"dataclass", [name, *mapping(fields)])
    if isinstance(value, pathlib.PurePath):
        return _framed(b"path", [name.replace(b"pathlib._local.", b"pathlib."), _utf8(str(value))])
    if isinstance(value, datetime.tzinfo):
        return _framed(b"tz", [name, _zone(value)])
    if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
        return _framed(*_numpy(value, name, sequence))
    if kind.__module__ == "numpy.dtypes":
        return _framed(b"dtype", [name, repr(value).encode()])
    return _subclassed(value, kind, name, sequence, mapping)


def _subclassed(
    value: Any,
    kind: type,
    name: bytes,
    sequence: Callable[[Iterable[object]], list[bytes]],
    mapping: Callable[[Iterable[tuple[object, object]]], list[bytes]],
) -> Iterable[bytes]:
    """Subclasses of built-in types, with the attributes they carry."""
    attributes = dict(getattr(value, "__dict__", None) or {})
    attributes |= {each: getattr(value, each) for each in ("_fields", "default_factory") if hasattr(value, each)}
    extra = mapping(attributes.items())
    for base, scalar in _SCALARS.items():
        if isinstance(value, base):
            return _framed(b"sub", [name, b"".join(_framed(*scalar(value))), *extra])
    if isinstance(value, tuple | list):
        return _framed(b"sub", [name, frame(b"L", *sequence(value)), *extra])
    if isinstance(value, collections.OrderedDict):  # two of them with another order are not equal
        return _framed(b"sub", [name, frame(b"O", *sequence(value.items())), *extra])
    if isinstance(value, dict):
        return _framed(b"sub", [name, frame(b"M", *mapping(value.items())), *extra])
    if isinstance(value, set | frozenset):
        return _framed(b"sub", [name, frame(b"S", *sorted(sequence(value))), *extra])
    raise EncodingError(
        f"A value of type {type_name(kind)} has no deterministic encoding. Values that have one: None, booleans, "
        "numbers, strings, bytes, dates, paths, enums, containers of these, dataclasses and attrs classes. Anything "
        "else travels as an artifact: save_artifact(value, name) and pass the version it returns."
    )


def _numpy(value: Any, name: bytes, sequence: Callable[[Iterable[object]], list[bytes]]) -> tuple[bytes, list[bytes]]:
    heading = [name, str(value.dtype.descr).encode(), str(value.shape).encode()]
    if value.dtype.hasobject:
        return b"numpy", [*heading, *sequence(value.ravel().tolist())]
    return b"numpy", [*heading, value.tobytes()]


def _integer(value: int) -> bytes:
    """Decimal, or hexadecimal where the decimal digits would be too many for Python to write."""
    return b"%d" % value if value.bit_length() < 4096 else hex(value).encode()


def _float(value: float) -> tuple[bytes, list[bytes]]:
    if value != value:
        return b"f", [b"nan"]
    return b"f", [struct.pack(">d", value)]


def _complex(value: complex) -> tuple[bytes, list[bytes]]:
    return b"c", [*_float(value.real)[1], *_float(value.imag)[1]]


def _datetime(value: datetime.datetime) -> tuple[bytes, list[bytes]]:
    return b"dt", [value.isoformat().encode(), _zone(value.tzinfo), str(value.fold).encode()]


def _time(value: datetime.time) -> tuple[bytes, list[bytes]]:
    return b"t", [value.isoformat().encode(), _zone(value.tzinfo), str(value.fold).encode()]


def _zone(value: datetime.tzinfo | None) -> bytes:
    text = "" if value is None else repr(value)
    if " at 0x" in text:  # an address, another one in each process
        raise EncodingError(
            f"The time zone {text} has no deterministic encoding. Use datetime.timezone, or zoneinfo.ZoneInfo by key."
        )
    return text.encode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_SCALARS: dict[type, Callable[[Any], tuple[bytes, list[bytes]]]] = {
    # bool before int and datetime before date: the first that fits a subclass wins.
    type(None): lambda value: (b"N", []),
    bool: lambda value: (b"b", [b"1" if value else b"0"]),
    int: lambda value: (b"i", [_integer(value)]),
    float: _float,
    complex: _complex,
    str: lambda value: (b"s", [_utf8(value)]),
    bytes: lambda value: (b"y", [bytes(value)]),
    bytearray: lambda value: (b"ya", [bytes(value)]),
    type(...): lambda value: (b"...", []),
    datetime.datetime: _datetime,
    datetime.date: lambda value: (b"d", [value.isoformat().encode()]),
    datetime.time: _time,
    datetime.timedelta: lambda value: (b"td", [b"%d" % value.days, b"%d" % value.seconds, b"%d" % value.microseconds]),
    decimal.Decimal: lambda value: (b"dec", [str(value).encode()]),
    fractions.Fraction: lambda value: (b"frac", [_integer(value.numerator), _integer(value.denominator)]),
    uuid.UUID: lambda value: (b"uuid", [value.bytes]),
    re.Pattern: lambda value: (b"re", [repr(value.pattern).encode(), b"%d" % value.flags]),
    range: lambda value: (b"range", [repr(value).encode()]),
}
