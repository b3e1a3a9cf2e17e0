"""Digests: equal values have one, different values never share one, in any process."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.artifacts import Artifact
from drystone.digests import digest_bytes, digest_value, encode, frame, type_name
from drystone.errors import EncodingError


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


class Metres(float):
    pass


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
    st.builds(range, st.integers(0, 5), st.integers(0, 5)),
    st.builds(bytearray, st.binary()),
)
HASHABLE = st.one_of(
    SCALARS.filter(lambda value: not isinstance(value, bytearray)), st.tuples(st.integers(), st.text())
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
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and equal all the way down, written without any of the code under test."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime.datetime | datetime.time):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return _matched(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return _matched(list(one), list(other))
    if isinstance(one, Settings | Frozen):
        return same(one.depth, other.depth) and same(one.names, other.names)
    if isinstance(one, range):
        return repr(one) == repr(other)
    return bool(one == other)


def _matched(ones: list[Any], others: list[Any]) -> bool:
    others = list(others)
    for one in ones:
        found = next((index for index, other in enumerate(others) if same(one, other)), None)
        if found is None:
            return False
        del others[found]
    return not others


@given(VALUES, VALUES)
def test_two_values_share_a_digest_exactly_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (digest_value(one) == digest_value(other)) == same(one, other)


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
]


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
