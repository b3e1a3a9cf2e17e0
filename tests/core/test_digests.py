"""Digests: equal values have one, different values never share one, in any process."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.artifacts import Artifact
from drystone.digests import digest_bytes, digest_value, encode, frame, type_name
from drystone.errors import EncodingError

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Settings:
    depth: int = 3
    names: tuple[str, ...] = ()


@attrs.frozen
class Frozen:
    depth: int = 3
    names: tuple[str, ...] = ()


class Level(enum.IntEnum):
    LOW = 1


class Shade(enum.StrEnum):
    VALUE = "value"


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Metres(float):
    pass


class Tagged(float):
    __slots__ = ("unit",)


class Whole(int):
    pass


class Row(tuple[Any, ...]):
    pass


class Table(dict[Any, Any]):
    pass


class Bag(set[Any]):
    pass


@dataclasses.dataclass
class Batch(list[Any]):
    name: str = ""


@dataclasses.dataclass
class Started:
    depth: int = 3

    def __post_init__(self) -> None:
        self.width = 0


@attrs.frozen
class Other:
    depth: int = 3
    names: tuple[str, ...] = ()


@attrs.define
class Unset:
    depth: int = attrs.field(init=False)


def with_attributes(value: Any, **attributes: Any) -> Any:
    for name, each in attributes.items():
        setattr(value, name, each)
    return value


class Names(list[str]):
    pass


class Name(str):
    pass


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.one_of(st.none(), st.timezones())),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.sampled_from([Colour.RED, Colour.GREEN, Mode.READ, Mode.READ | Mode.WRITE, ..., int, Settings]),
    st.sampled_from([pathlib.Path("a"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")]),
    st.builds(Metres, st.floats()),
    st.builds(Whole, st.integers(-2, 2)),
    st.builds(Name, st.text(max_size=2)),
    st.builds(lambda number, unit: with_attributes(Tagged(number), unit=unit), st.just(1.0), st.sampled_from(["m", 1])),
    st.sampled_from([Level.LOW, Shade.VALUE, Bits.ONE, Bits.ONE | Bits.TWO, Bits(0)]),
    st.builds(np.float64, st.floats(allow_nan=False)),
    st.builds(np.float32, st.floats(allow_nan=False, width=32)),
    st.builds(np.int64, st.integers(-2, 2)),
    st.builds(np.int8, st.integers(-2, 2)),
    st.builds(np.bool_, st.booleans()),
    st.builds(np.str_, st.text(alphabet="ab", max_size=2)),
    st.integers(-2, 2).map(str),
    st.integers(-2, 2).map(float),
    st.integers(-2, 2).map(decimal.Decimal),
    st.sampled_from(["1", b"1", True, 1, 1.0, 1 + 0j, 0, -0.0, 0.0, False, "", b"", "None", None, "nan", float("nan")]),
    st.builds(range, st.integers(0, 5), st.integers(0, 5)),
    st.builds(bytearray, st.binary()),
)
HASHABLE = st.one_of(
    SCALARS.filter(lambda value: not isinstance(value, bytearray | np.generic)), st.tuples(st.integers(), st.text())
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.builds(Settings, st.integers(), st.tuples(st.text())),
        st.builds(Frozen, st.integers(), st.tuples(st.text())),
        st.builds(Point, inner, inner),
        st.lists(st.text(), max_size=3).map(Names),
        st.builds(Settings, inner),
        st.builds(Frozen, inner),
        st.builds(Other, inner),
        st.lists(inner, max_size=3).map(Row),
        st.dictionaries(HASHABLE, inner, max_size=3).map(Table),
        st.sets(HASHABLE, max_size=3).map(Bag),
        st.builds(lambda items, name: with_attributes(Names(items), label=name), st.just(["a"]), inner),
        st.lists(st.tuples(st.integers(0, 3), inner), max_size=3).map(collections.OrderedDict),
        st.lists(inner, max_size=3).map(collections.deque),
        st.builds(slice, inner, inner),
    ),
    max_leaves=12,
)


def told(value: Any) -> Any:
    """All that tells a value from others, as nested tuples of texts and names; made without any code under test."""
    kind = type(value)
    name = kind.__module__ + "." + kind.__qualname__
    if isinstance(value, enum.Enum):
        return name, "member", repr(value), told(value.value)
    if isinstance(value, type):
        return name, value.__module__ + "." + value.__qualname__
    if kind.__module__ == "numpy":
        return name, value.dtype.str, repr(value.item())
    if isinstance(value, float | complex):
        return name, repr(kind.__mro__[-2](value)), unordered(attributes(value))
    if isinstance(value, Settings | Frozen | Other):
        return name, told(value.depth), told(value.names)
    if isinstance(value, slice):
        return name, told(value.start), told(value.stop), told(value.step)
    if isinstance(value, collections.OrderedDict):
        return name, tuple((told(key), told(item)) for key, item in value.items())
    if isinstance(value, dict):
        return name, unordered(value)
    if isinstance(value, set | frozenset):
        return name, tuple(sorted(repr(told(item)) for item in value))
    if isinstance(value, list | tuple | collections.deque):
        return name, tuple(told(item) for item in value), unordered(attributes(value))
    return name, repr(value)


def attributes(value: Any) -> dict[str, Any]:
    return {**getattr(value, "__dict__", {}), **({"unit": value.unit} if hasattr(value, "unit") else {})}


def unordered(items: dict[Any, Any]) -> tuple[str, ...]:
    return tuple(sorted(repr((told(key), told(item))) for key, item in items.items()))


@settings(max_examples=500)
@given(VALUES, VALUES)
def test_digests_tell_apart_exactly_what_an_independent_description_does(one: Any, other: Any) -> None:
    assert (digest_value(one) == digest_value(other)) == (told(one) == told(other))


@given(st.lists(SCALARS, min_size=5, max_size=40))
def test_among_many_values_none_collide(values: list[Any]) -> None:
    by_digest = {digest_value(value): repr(told(value)) for value in values}
    assert len(by_digest) == len({repr(told(value)) for value in values})


@given(VALUES)
def test_copies_have_the_same_digest(value: Any) -> None:
    def copied(part: Any) -> Any:
        if type(part) in (list, tuple):
            return type(part)(copied(item) for item in part)
        if type(part) is dict:
            return {key: copied(item) for key, item in reversed(part.items())}
        if type(part) in (set, frozenset):
            return type(part)(sorted(part, key=repr, reverse=True))
        return part

    assert digest_value(copied(value)) == digest_value(value)


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_framed_parts_cannot_be_read_as_other_parts(one: list[bytes], other: list[bytes]) -> None:
    assert (frame(b"x", *one) == frame(b"x", *other)) == (one == other)


LOOKALIKES = [
    1,
    "1",
    True,
    1.0,
    1 + 0j,
    b"1",
    bytearray(b"1"),
    decimal.Decimal(1),
    decimal.Decimal("1.0"),
    fractions.Fraction(1),
    Metres(1),
    np.int64(1),
    np.int32(1),
    np.float64(1),
    np.bool_(True),
    np.array(1),
    np.array([1]),
    np.array([[1]]),
    (1,),
    [1],
    {1},
    frozenset({1}),
    {1: 1},
    [[1]],
    [(1,)],
    range(1),
    slice(1),
    Colour.RED,
    Mode.READ,
    None,
    0,
    False,
    0.0,
    -0.0,
    "",
    b"",
    (),
    [],
    {},
    set(),
    frozenset(),
    ("ab", "c"),
    ("a", "bc"),
    {"a": "b"},
    [("a", "b")],
    collections.OrderedDict(a=1, b=2),
    collections.OrderedDict(b=2, a=1),
    {"a": 1, "b": 2},
    collections.defaultdict(int, {"a": 1, "b": 2}),
    collections.defaultdict(float, {"a": 1, "b": 2}),
    collections.Counter({"a": 1, "b": 2}),
    Point(1, 2),
    (1, 2),
    [1, 2],
    Settings(),
    Frozen(),
    {"depth": 3, "names": ()},
    "value",
    Name("value"),
    Name("other"),
    re.compile("value"),
    re.compile(b"value"),
    re.compile("value", re.IGNORECASE),
    pathlib.Path("value"),
    pathlib.PurePosixPath("value"),
    pathlib.PureWindowsPath("value"),
    datetime.date(2026, 1, 1),
    datetime.datetime(2026, 1, 1),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "2026-01-01",
    datetime.timedelta(1),
    pd.Timedelta(1),
    pd.Timedelta(2),
    pd.Timestamp(1),
    pd.Timestamp(2),
    datetime.timezone(datetime.timedelta(hours=1), "local"),
    datetime.timezone(datetime.timedelta(hours=2), "local"),
    uuid.UUID(int=1),
    int,
    float,
    list[int],
    list[str],
    int | None,
    np.dtype("f4"),
    np.dtype("f8"),
    np.array([1], dtype=object),
    np.array([("a", 1)], dtype=[("k", object), ("v", object)]),
    np.array([("a", 1)], dtype=[("v", object), ("k", object)]),
    np.datetime64("2026-01-01"),
    np.datetime64("2026-01-01", "ns"),
    float("nan"),
    float("inf"),
    10**5000,
    fractions.Fraction(10**5000),
    # What is equal to something above, or looks like it, and is of another class
    Level.LOW,
    Shade.VALUE,
    Bits.ONE,
    Bits.ONE | Bits.TWO,
    3,
    Whole(1),
    Row((1, 2)),
    Table({"a": 1, "b": 2}),
    Bag({1}),
    Names(["1"]),
    ["1"],
    Tagged(1),
    with_attributes(Tagged(1), unit="m"),
    with_attributes(Tagged(1), unit="s"),
    with_attributes(Metres(1), unit="m"),
    with_attributes(Name("value"), unit="m"),
    Batch("a"),
    with_attributes(Batch("a"), extra=1),
    Other(),
    Started(),
    with_attributes(Started(), width=1),
    Unset(),
    np.str_("value"),
    np.bytes_(b"1"),
    np.uint64(1),
    np.complex128(1),
    np.timedelta64(1, "D"),
    np.timedelta64(24, "h"),
    collections.deque([1]),
    collections.deque([1], maxlen=1),
    collections.OrderedDict(),
    # Moments
    datetime.datetime(2026, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    datetime.time(1),
    datetime.time(1, tzinfo=datetime.UTC),
    datetime.timedelta(seconds=1),
    # Nothing, in many forms
    type(None),
    "None",
    "nan",
    decimal.Decimal("nan"),
    decimal.Decimal("snan"),
    decimal.Decimal("-0"),
    decimal.Decimal(0),
    complex(0, -0.0),
    complex(-0.0, 0),
    complex(0, float("nan")),
    np.float64("nan"),
    np.datetime64("NaT", "ns"),
    [None],
    [[]],
    [()],
    ((),),
    {"": None},
    {None: ""},
    {(): []},
    [0, False],
    [False, 0],
    [1, True],
    {0: "a"},
    {False: "a"},
    {0.0: "a"},
    {"0": "a"},
    "a\0",
    "a",
    "é",
    "e\u0301",
    "\ud800",
    b"\xed\xa0\x80",
    uuid.UUID(int=1).hex,
    str(uuid.UUID(int=1)),
]


def nested(value: Any) -> list[Any]:
    """A value inside containers of many kinds."""
    hashable = [] if getattr(type(value), "__hash__", None) is None else [{value: 0}, frozenset([value]), {(value,): 0}]
    return [[value], (value,), {"key": value}, [[value]], ([value],), Frozen(value), Settings(value), *hashable]


def test_values_that_look_alike_differ_inside_others_as_well() -> None:
    plain = [
        1,
        "1",
        True,
        1.0,
        1 + 0j,
        b"1",
        None,
        (1,),
        [1],
        {1},
        {1: 1},
        np.int64(1),
        np.float64(1),
        Whole(1),
        Level.LOW,
    ]
    values = [each for value in plain for each in nested(value)]
    assert len({digest_value(value) for value in values}) == len({repr(told(value)) for value in values})


def test_all_kinds_of_nan_are_one_and_zeros_are_two() -> None:
    nans = [float("nan"), float("-nan"), math.inf - math.inf, math.inf * 0]
    assert len({digest_value(each) for each in nans}) == 1
    assert len({digest_value([each]) for each in nans}) == 1
    assert digest_value(0.0) != digest_value(-0.0)


def test_one_instant_in_two_zones_is_two_values() -> None:
    utc = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
    berlin = utc.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    assert utc == berlin
    assert len({digest_value(each) for each in (utc, berlin, utc.replace(tzinfo=None))}) == 3


def test_what_properties_keep_and_how_generics_are_called_do_not_count() -> None:
    @dataclasses.dataclass
    class Squared(Generic[T]):
        number: int

        @functools.cached_property
        def square(self) -> int:
            return self.number**2

    used = Squared[int](2)
    assert used.square == 4
    assert digest_value(used) == digest_value(Squared(2))


def test_values_that_look_alike_all_differ() -> None:
    seen = collections.defaultdict(list)
    for value in LOOKALIKES:
        seen[digest_value(value)].append(value)
    assert [values for values in seen.values() if len(values) > 1] == []


def test_the_value_behind_an_enum_member_counts() -> None:
    old, new = (enum.Enum("Level", {"LOW": number}, module="levels") for number in (1, 2))
    assert digest_value(old.LOW) != digest_value(new.LOW)  # type: ignore[attr-defined]


def test_the_field_names_of_a_named_tuple_count() -> None:
    old, new = (collections.namedtuple("Pair", names, module="pairs") for names in ("x y", "y x"))  # type: ignore[misc]
    assert digest_value(old(1, 2)) != digest_value(new(1, 2))


def test_arrays_count_by_content_not_by_memory_order() -> None:
    array = np.arange(6).reshape(2, 3)
    assert digest_value(array) == digest_value(np.asfortranarray(array)) == digest_value(array.copy())
    assert digest_value(array) != digest_value(array.reshape(3, 2))


PROGRAM = """
import json, sys
sys.path.insert(0, {folder!r})
from test_digests import LOOKALIKES
from drystone.digests import digest_value
values = [*LOOKALIKES, {{"b": 1, "a": {{"x", "y", "z"}}}}, {{Ellipsis, None, "q", 3}}]
print(json.dumps([digest_value(value) for value in values]))
"""


def test_digests_are_the_same_in_every_process_and_under_every_hash_seed() -> None:
    program = PROGRAM.format(folder=str(pathlib.Path(__file__).parent))
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(json.loads(printed.pop())) == len(LOOKALIKES) + 2


def test_a_class_of_a_script_has_the_name_it_would_be_imported_by(monkeypatch: pytest.MonkeyPatch) -> None:
    script = type("Config", (), {"__module__": "__main__"})
    assert type_name(script) == "__main__.Config"
    # what the driver notes on a script
    monkeypatch.setattr(sys.modules["__main__"], "__drystone_name__", "flights.train", raising=False)
    assert type_name(script) == "flights.train.Config"


def test_custom_rules_are_asked_first_about_every_part() -> None:
    def custom(value: object) -> bytes | None:
        return b"opaque" if callable(value) else None

    assert encode([print], custom) == encode([len], custom)
    assert encode([print, 1], custom) != encode([print, 2], custom)


def test_declarations_have_digests() -> None:
    assert digest_value(Artifact("a", tags={"x": 1})) == digest_value(Artifact("a", tags={"x": 1}))
    assert digest_value(Artifact("a")) != digest_value(Artifact("b"))


def test_bytes_have_the_digest_of_their_blob() -> None:
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_bytes(b"") == digest_bytes(memoryview(b"")) == empty


class Opaque:
    pass


def test_a_value_without_an_encoding_is_refused_with_the_way_out() -> None:
    with pytest.raises(EncodingError) as caught:
        digest_value({"a": [Opaque()]})
    name = f"{Opaque.__module__}.Opaque"
    assert str(caught.value) == (
        f"A value of type {name} has no deterministic encoding. Values that have one: None, booleans, numbers, "
        "strings, bytes, dates, paths, enums, containers of these, dataclasses and attrs classes. Anything else "
        "travels "
        "as an artifact: save_artifact(value, name) and pass the version it returns."
    )


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(EncodingError) as caught:
        digest_value(loop)
    assert str(caught.value) == "value[1]['again'] contains itself, so it has no finite encoding."


def test_a_value_nested_beyond_measure_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() + 10):
        deep = [deep]
    with pytest.raises(EncodingError, match=r"^The value is nested too deeply to be encoded\.$"):
        digest_value(deep)


class Zone(datetime.tzinfo):
    def utcoffset(self, moment: datetime.datetime | None) -> None:
        return None


def test_a_time_zone_known_only_by_its_address_is_refused() -> None:
    with pytest.raises(EncodingError) as caught:
        digest_value(datetime.time(tzinfo=Zone()))
    assert "has no deterministic encoding. Use datetime.timezone, or zoneinfo.ZoneInfo by key." in str(caught.value)


def test_the_module_of_a_class_may_be_no_name() -> None:
    class Odd:
        pass

    Odd.__module__ = property(lambda self: "odd")  # as extension classes have it
    with pytest.raises(EncodingError, match="has no deterministic encoding"):
        encode(Odd())
