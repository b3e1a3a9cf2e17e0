"""Values as JSON: what comes back is equal, of the same type, all the way down."""

import collections
import dataclasses
import datetime
import enum
import functools
import json
import pathlib
import re
import sys
import uuid
import zoneinfo
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.digests import digest_value, type_name
from drystone.errors import EncodingError
from drystone.values import class_name, dumps, find_class, from_json, to_json


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Settings:
    depth: Any = 3
    secret: str = dataclasses.field(default="", repr=False)

    @functools.cached_property
    def doubled(self) -> Any:
        return self.depth * 2


@attrs.define
class Record:
    _name: str
    items: list[Any]
    total: int = attrs.field(init=False, default=7)


@dataclasses.dataclass
class FailureError(Exception):
    code: int = 1


@dataclasses.dataclass
class Remembering:
    depth: int = 3

    def __post_init__(self) -> None:
        self.started = True


T = TypeVar("T")


@dataclasses.dataclass
class Holder(Generic[T]):
    item: T


class Level(enum.IntEnum):
    LOW = 1


class Shade(enum.StrEnum):
    DARK = "dark"


class Mixed(float, enum.Enum):
    HALF = 0.5


class Name(str):
    """With attributes of its own."""


class Metres(float):
    __slots__ = ("unit",)


class Count(int):
    def __new__(cls, value: str) -> "Count":
        return super().__new__(cls, value, 16)


class Data(bytes): ...


class Phase(complex): ...


class Buffer(bytearray): ...


class Row(tuple[Any, ...]): ...


class Rows(list[Any]):
    def __init__(self, count: int) -> None:
        super().__init__([None] * count)


class Table(dict[Any, Any]): ...


class Names(set[Any]): ...


class Fixed(frozenset[Any]): ...


def filled(cls: Any, content: Any, **attributes: Any) -> Any:
    """An instance of a subclass, whatever its constructor takes."""
    base: Any = next(each for each in cls.__mro__ if each.__module__ == "builtins")
    made = base.__new__(cls, content)
    if base in (list, dict, set, bytearray):
        base.__init__(made, content)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@attrs.define
class Unset:
    depth: int = attrs.field(init=False)


HOURS = datetime.timedelta(hours=23)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=1 << 511, max_value=1 << 520),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.text(alphabet=st.characters(categories=["Cs"]), max_size=3),
    st.binary(),
    st.builds(bytearray, st.binary()),
    st.dates(),
    st.datetimes(timezones=st.one_of(st.none(), st.timezones(), st.just(datetime.UTC))),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.builds(datetime.timezone, st.timedeltas(-HOURS, HOURS), st.text(max_size=3)),
    st.sampled_from([re.compile("a+"), re.compile("a", re.IGNORECASE), re.compile(b"a"), zoneinfo.ZoneInfo("UTC")]),
    st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    st.sampled_from([Colour.RED, Colour.GREEN, Mode.READ, Mode.READ | Mode.WRITE, Mode(0)]),
    st.sampled_from([pathlib.Path("a/b"), pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("c:/a")]),
    st.builds(np.float64, st.floats(allow_nan=False)),
    st.builds(np.float32, st.floats(allow_nan=False, width=32)),
    st.builds(np.int16, st.integers(-(1 << 15), (1 << 15) - 1)),
    st.builds(np.bool_, st.booleans()),
    st.builds(np.str_, st.text(alphabet="abé", max_size=3)),
    st.builds(np.bytes_, st.just(b"ab")),
    st.just(np.datetime64("2026-01-01T00:00:00.000000001", "ns")),
    st.just(np.timedelta64(3, "h")),
    st.sampled_from([Level.LOW, Shade.DARK, Mixed.HALF]),
    st.builds(filled, st.just(Name), st.text(), language=st.text()),
    st.builds(filled, st.just(Metres), st.floats(allow_nan=False), unit=st.text()),
    st.builds(filled, st.just(Metres), st.floats(allow_nan=False)),
    st.builds(filled, st.just(Count), st.integers(), of=st.text()),
    st.builds(filled, st.just(Data), st.binary()),
    st.builds(filled, st.just(Phase), st.complex_numbers(allow_nan=False)),
)
HASHABLE = SCALARS.filter(lambda value: not isinstance(value, bytearray))
KEYS = st.one_of(st.text(max_size=3), st.just("$"), HASHABLE, st.tuples(st.integers(), st.text(max_size=2)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Settings, inner, st.text()),
        st.builds(Record, st.text(), st.lists(inner, max_size=2)),
        st.lists(st.tuples(KEYS, inner), max_size=3).map(collections.OrderedDict),
        st.builds(collections.deque, st.lists(inner, max_size=3), st.sampled_from([None, 3, 9])),
        st.lists(st.text(max_size=2), max_size=4).map(collections.Counter),
        st.builds(filled, st.just(Row), st.lists(inner, max_size=3)),
        st.builds(filled, st.just(Rows), st.lists(inner, max_size=3), of=inner),
        st.builds(filled, st.just(Table), st.dictionaries(KEYS, inner, max_size=3)),
        st.builds(filled, st.just(Names), st.sets(HASHABLE, max_size=3)),
        st.builds(filled, st.just(Fixed), st.sets(HASHABLE, max_size=3)),
        st.builds(filled, st.just(Buffer), st.binary()),
    ),
    max_leaves=15,
)


def round_trip(value: Any) -> Any:
    """Through bytes, as the built-in materializer does it."""
    written = dumps(to_json(value)).encode("utf-8", "surrogatepass")
    return from_json(json.loads(written.decode("utf-8", "surrogatepass")))


@given(VALUES)
def test_a_value_comes_back_the_same(value: Any) -> None:
    returned = round_trip(value)
    assert type(returned) is type(value)
    assert digest_value(returned) == digest_value(value)
    assert returned == value


@given(VALUES, VALUES)
def test_two_values_share_a_text_only_if_they_are_the_same(one: Any, other: Any) -> None:
    if dumps(to_json(one)) == dumps(to_json(other)):
        assert digest_value(one) == digest_value(other)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 0.1 + 0.2])
def test_every_float_comes_back(number: float) -> None:
    assert repr(round_trip(number)) == repr(number)
    assert repr(round_trip(complex(number, 1))) == repr(complex(number, 1))


def test_attributes_and_slots_of_a_subclass_come_back() -> None:
    assert round_trip(filled(Name, "a", language="en")).language == "en"
    assert round_trip(filled(Metres, 1.0, unit="m")).unit == "m"
    assert not hasattr(round_trip(filled(Metres, 1.0)), "unit")


def test_how_a_generic_class_was_called_is_left_behind() -> None:
    assert round_trip(Holder[int](1)) == Holder(1)
    assert digest_value(Holder[int](1)) == digest_value(Holder(1))


def test_a_class_that_became_another_is_named() -> None:
    data = to_json(filled(Rows, [1])) | {"type": class_name(Name)}
    with pytest.raises(EncodingError) as caught:
        from_json(data)
    assert str(caught.value) == f"{class_name(Name)} is not a subclass of a built-in class any more."


def test_order_of_a_dict_is_kept_and_order_of_a_set_is_not_seen() -> None:
    assert list(round_trip({"b": 1, "a": 2, 3: 4})) == ["b", "a", 3]
    assert dumps(to_json({"x", "y", "z"})) == dumps(to_json({"z", "y", "x"}))


def test_an_ambiguous_hour_comes_back_on_its_side() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    late = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin)
    returned = round_trip(late)
    assert (returned.fold, returned.tzinfo, returned.utcoffset()) == (1, berlin, late.utcoffset())


def test_plain_json_stays_plain() -> None:
    plain = {"name": "delays", "depths": [1, 2.5, None, True], "nested": {"a": "é"}}
    assert to_json(plain) == plain
    assert dumps(to_json(plain)) == '{"name":"delays","depths":[1,2.5,null,true],"nested":{"a":"é"}}'


def test_a_cached_property_is_left_behind() -> None:
    settings = Settings(4)
    assert settings.doubled == 8
    assert round_trip(settings) == settings
    assert "doubled" not in vars(round_trip(settings))


def test_a_class_of_a_script_is_found_whether_it_was_run_or_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    config = type("Config", (), {"__module__": "__main__"})
    # a script that defines the class, with what the driver notes on it
    monkeypatch.setattr(main, "Config", config, raising=False)
    monkeypatch.setattr(main, "__drystone_name__", "flights.train", raising=False)
    assert class_name(config) == "flights.train:Config"
    assert find_class("flights.train:Config") is config


def local_class() -> Any:
    @dataclasses.dataclass
    class Local:
        depth: int = 1

    return Local()


class Zone(datetime.tzinfo):
    pass


REFUSED = {
    "opaque": (object(), "A value of type builtins.object has no exact JSON form."),
    "factory": (collections.defaultdict(int), "A value of type builtins.type has no exact JSON form."),
    "timestamp": (pd.Timestamp(1), f"A value of type {type_name(pd.Timestamp)} has no exact JSON form."),
    "class": (int, "A value of type builtins.type has no exact JSON form."),
    "function": (len, "A value of type builtins.builtin_function_or_method has no exact JSON form."),
    "array": (np.zeros(2), "A value of type numpy.ndarray has no exact JSON form."),
    "flat": (np.array(1.0), "A value of type numpy.ndarray has no exact JSON form."),
    "record": (np.zeros(1, dtype=[("a", "i4")])[0], "A value of type numpy.void has no exact JSON form."),
    "local": (
        local_class(),
        "The class local_class.<locals>.Local is defined inside a function, so nothing could load it.",
    ),
    "surplus": (
        Remembering(),
        f"A {__name__}.Remembering has no exact JSON form, since it is not just its fields: it holds 'started' "
        "besides.",
    ),
    "inherits": (
        FailureError(),
        f"A {__name__}.FailureError has no exact JSON form, since it is not just its fields: it inherits from a "
        "built-in class.",
    ),
    "unset": (
        Unset(),
        f"A {__name__}.Unset has no exact JSON form, since it is not just its fields: 'depth' is not set.",
    ),
    "zone": (datetime.time(tzinfo=Zone()), f"A value of type {__name__}.Zone has no exact JSON form."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_exactly_is_refused(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(EncodingError) as caught:
        to_json([value])
    assert str(caught.value) == message


def test_a_class_that_is_gone_is_named() -> None:
    with pytest.raises(EncodingError) as caught:
        from_json({"$": "object", "type": "no_such_module:Config", "v": {}})
    assert str(caught.value) == (
        "This value is of class Config from no_such_module, which cannot be imported here (No module named "
        "'no_such_module'). Run from the project that defines it, or install that project."
    )


def test_a_class_that_changed_its_fields_is_named() -> None:
    data = to_json(Settings())
    data["v"]["width"] = 1
    with pytest.raises(EncodingError) as caught:
        from_json(data)
    assert str(caught.value) == (
        f"{__name__}:Settings has the fields depth, secret; the stored value has depth, secret, width. Its class "
        f"changed "
        "since: run what made the value again."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"$": "sparkle", "v": 1}, "This value was written by another version of Drystone: it holds a 'sparkle'."),
        ({"$": "object", "type": "os:getcwd", "v": {}}, "os:getcwd is not a class."),
        (
            {"$": "object", "type": "uuid:UUID", "v": {}},
            "uuid:UUID is not an attrs class, a dataclass or a named tuple any more.",
        ),
        ({"$": "enum", "type": "uuid:UUID", "v": "A"}, "uuid:UUID is not an enum any more."),
    ],
)
def test_what_is_no_data_is_not_loaded(data: Any, message: str) -> None:
    with pytest.raises(EncodingError) as caught:
        from_json(data)
    assert str(caught.value) == message


def test_identity_numbers_survive() -> None:
    number = uuid.UUID("12345678-1234-5678-1234-567812345678")
    assert round_trip({number: number}) == {number: number}
