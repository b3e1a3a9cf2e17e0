"""Texts, and data of files, as values of any type."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from drystone_cli.files import load
from drystone_cli.values import UNITS, Plain, from_data, from_text


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Shade(enum.StrEnum):
    """A text that is a member, too."""

    LIGHT = "light"
    DARK = "dark"


@dataclasses.dataclass
class Inner:
    """A dataclass within another."""

    day: datetime.date


@dataclasses.dataclass
class Config:
    """A dataclass that looks at what it is given."""

    depth: int
    inner: Inner | None = None
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError("depth is negative")


def thousands(value: int | str) -> int:
    return value if isinstance(value, int) else 1000 * int(value.removesuffix("k"))


@attrs.frozen
class Settings:
    """An attrs class with a private field, a converter, and a field that nobody gives."""

    _size: int
    limit: int = attrs.field(default=0, converter=thousands)
    area: int = attrs.field(init=False, default=7)


class Range(NamedTuple):
    """A named tuple."""

    low: float
    high: float = 1.0


Row = TypedDict("Row", {"name": str, "size": NotRequired[int]})  # noqa: UP013
"""In this form, for Python takes `NotRequired` in a text for required."""

T = TypeVar("T")


@attrs.frozen
class Box(Generic[T]):
    """A generic class."""

    value: T


if TYPE_CHECKING:
    from fractions import Fraction


@attrs.frozen
class Hidden:
    """A class with a type that only type-checkers see."""

    value: Fraction | None = None


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("-2", int, -2),
        ("1e-3", float, 0.001),
        ("3", float, 3.0),
        ("3", str, "3"),
        ("a=b", str, "a=b"),
        ("true", bool, True),
        ("No", bool, False),
        ("2026-01-31", datetime.date, datetime.date(2026, 1, 31)),
        ("2026-01-31T12:00", datetime.datetime, datetime.datetime(2026, 1, 31, 12)),
        ("12:30", datetime.time, datetime.time(12, 30)),
        ("[1, 2]", list[int], [1, 2]),
        ("[1, 2]", list, [1, 2]),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ('[1, "a"]', tuple[int, str], (1, "a")),
        ("[1, 1]", set[int], {1}),
        ('["2026-01-31"]', list[datetime.date], [datetime.date(2026, 1, 31)]),
        ("none", int | None, None),
        ("3", int | None, 3),
        ("abc", int | str, "abc"),
        ("3", str | int, 3),
        ("fast", Literal["fast", "slow"], "fast"),
        ("2", Literal[1, 2], 2),
        ("RED", Color, Color.RED),
        ("2", Color, Color.BLUE),
        ("a/b", Path, Path("a/b")),
        ("[1, 2]", list[float], [1.0, 2.0]),
        ('{"1": 2}', dict[int, float], {1: 2.0}),
        ("90 min", datetime.timedelta, datetime.timedelta(hours=1.5)),
        ("1d 12h", datetime.timedelta, datetime.timedelta(days=1.5)),
        ("0.10", Decimal, Decimal("0.10")),
        ("12345678-1234-5678-1234-567812345678", UUID, UUID("12345678-1234-5678-1234-567812345678")),
        ("3", float | int, 3),
        ("1", bool | int, 1),
        ("a", Path | datetime.date | str, Path("a")),
        ("[1, 2]", Sequence[int], [1, 2]),
        ("[1]", frozenset[int], frozenset({1})),
        ('{"a": [1]}', Mapping[str, Iterable[int]], {"a": [1]}),
        ('{"1": "1"}', dict, {"1": "1"}),
        ('{"day": "2026-01-31"}', Inner, Inner(datetime.date(2026, 1, 31))),
        ('{"depth": 1, "inner": {"day": "2026-01-31"}}', Config, Config(1, Inner(datetime.date(2026, 1, 31)))),
        ('{"depth": 1, "rates": [1, 0.5]}', Config, Config(1, rates=(1.0, 0.5))),
        ('{"size": 3, "limit": "5k"}', Settings, Settings(size=3, limit=5000)),
        ('{"low": 1, "high": 2.5}', Range, Range(1.0, 2.5)),
        ('{"name": "a"}', Row, {"name": "a"}),
        ('{"value": 3}', Box[int], Box(3)),
        ('{"size": 3}', Inner | Settings, Settings(size=3)),
        ('{"2026-01-31": "x"}', dict[datetime.date, str], {datetime.date(2026, 1, 31): "x"}),
    ],
)
def test_a_text_is_read_as_its_annotation(text, annotation, value):
    found = from_text(text, annotation)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("x", int, "it takes a whole number, not 'x'."),
        ("x", float, "it takes a number, not 'x'."),
        ("maybe", bool, "it takes true or false, not 'maybe'."),
        ("1.1.", datetime.date, "it takes a date like 2026-01-31, not '1.1.'."),
        ("1,2", list[int], "it takes JSON like [1, 2, 3], not '1,2'."),
        ('{"x": 1}', dict[int, int], "['x']: it takes a whole number, not 'x'."),
        ("[1]", dict[str, int], """it takes JSON like {"name": value}, not '[1]'."""),
        ("x", Literal["fast", "slow"], "it takes one of 'fast', 'slow', not 'x'."),
        ("fats", Literal["fast", "slow"], "it takes one of 'fast', 'slow', not 'fats'. Did you mean 'fast'?"),
        ("x", Color, "it takes one of RED, BLUE, not 'x'."),
        ("RAD", Color, "it takes one of RED, BLUE, not 'RAD'. Did you mean 'RED'?"),
        ("x", int | datetime.date, "it takes a whole number or a date like 2026-01-31, not 'x'."),
        ("5", datetime.timedelta, "it takes a duration like 90s, 12h or 1d 30min, not '5'."),
        ("5 parsecs", datetime.timedelta, "it takes a duration like 90s, 12h or 1d 30min, not '5 parsecs'."),
        ("[1, 2]", tuple[int, int, int], "it takes 3 items, not 2."),
        ('[1, "2", true]', list[int], "[1]: it takes a whole number, not '2'. [2]: it takes a whole number, not True."),
        ('{"a": 1, "a": 2}', dict[str, int], "'a' is given twice."),
        ("3", Config, """it takes JSON like {"name": value}, not '3'."""),
        ("{}", Config, "it needs 'depth'."),
        (
            '{"depth": "3", "dept": 1, "inner": {"day": "x"}}',
            Config,
            "depth: it takes a whole number, not '3'. inner.day: it takes a date like 2026-01-31, not 'x'. "
            "dept: there is no such field. Did you mean 'depth'? Fields: depth, inner, rates.",
        ),
        ('{"depth": -1}', Config, "depth is negative."),
        ("3", Hidden, """it takes JSON like {"name": value}, not '3'."""),
        (
            "{}",
            Hidden,
            "the class names 'Fraction', which does not exist at run time: import it, not under TYPE_CHECKING.",
        ),
        ("x", int | None, "it takes a whole number, not 'x'."),
        ("x", complex, "a value of complex cannot be written on the command line."),
    ],
)
def test_what_cannot_be_read_says_what_would_do(text, annotation, message):
    with pytest.raises(ValueError, match=r".") as caught:
        from_text(text, annotation)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "annotation", "message"),
    [
        ("3", int, "it takes a whole number, not '3'."),
        (3.0, int, "it takes a whole number, not 3.0."),
        (True, int, "it takes a whole number, not True."),
        (True, float, "it takes a number, not True."),
        (1, bool, "it takes true or false, not 1."),
        ("false", bool, "it takes true or false, not 'false'."),
        (3, str, "it takes a text, not 3."),
        ("ab", list[str], "it takes a list, not 'ab'."),
        ("ab", tuple[str, ...], "it takes a list, not 'ab'."),
        ([["a", 1]], dict[str, int], "it takes a table of names and values, not [['a', 1]]."),
        ([1], Config, "it takes a table with depth, inner, rates, not [1]."),
        ("light", Literal["dark"], "it takes one of 'dark', not 'light'."),
        (None, int, "it takes a whole number, not None."),
        (
            datetime.datetime(2026, 1, 1),
            datetime.date,
            "it takes a date like 2026-01-31, not datetime.datetime(2026, 1, 1, 0, 0).",
        ),
        ([[1]], set[list[int]], "it takes items that can be told apart: unhashable type: 'list'."),
        ({}, complex, "a value of complex cannot be written in a file."),
    ],
)
def test_data_is_taken_for_what_it_is(data, annotation, message):
    with pytest.raises(ValueError, match=r".") as caught:
        from_data(data, annotation)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("no", str, "no"),
        ("no", bool, False),
        ("1.10", str, "1.10"),
        ("1e-3", float, 0.001),
        ("12:30", datetime.time, datetime.time(12, 30)),
        ("0123", str, "0123"),
        ("none", str | None, "none"),
        ("null", str | None, None),
        ("[1, a, '2']", list, [1, "a", "2"]),
        ("{1: x}", dict[int, str], {1: "x"}),
        ("{1: x}", Any, {1: "x"}),
        ("{a: {b: 2026-01-31}}", dict[str, dict[str, datetime.date]], {"a": {"b": datetime.date(2026, 1, 31)}}),
        ("dark", Shade, Shade.DARK),
        ("'3'", int | str, "3"),
        ("3", int | str, 3),
        (".inf", float, math.inf),
    ],
)
def test_what_stands_in_no_quotes_in_yaml_is_read_as_what_is_asked_for(tmp_path, text, annotation, value):
    file = tmp_path / "file.yaml"
    file.write_text(f"value: {text}\n")
    found = from_data(load(file)["value"], annotation)
    assert (found, type(found)) == (value, type(value))
    assert type(found) is not Plain


# The law: whatever is written to a file is read from it.


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(string.ascii_letters, min_size=1, max_size=5)
DAYS = st.dates(datetime.date(1000, 1, 1))
MOMENTS = st.datetimes(datetime.datetime(1000, 1, 1), timezones=st.sampled_from([None, datetime.UTC])).map(
    lambda moment: moment.replace(fold=0)
)
FLOATS = st.floats(allow_nan=False)


def pairs(annotation: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return values.map(lambda value: (annotation, value))


SIMPLE = st.one_of(
    pairs(int, st.integers(-(2**63), 2**63 - 1)),
    pairs(float, FLOATS),
    pairs(bool, st.booleans()),
    pairs(str, TEXTS),
    pairs(Any, st.booleans() | NAMES.map(lambda name: f"x{name}")),
    pairs(datetime.date, DAYS),
    pairs(datetime.datetime, MOMENTS),
    pairs(datetime.time, st.times().map(lambda time: time.replace(fold=0))),
    pairs(datetime.timedelta, st.timedeltas()),
    pairs(Decimal, st.decimals(allow_nan=False)),
    pairs(UUID, st.uuids()),
    pairs(Path, NAMES.map(Path)),
    pairs(Color, st.sampled_from(Color)),
    pairs(Shade, st.sampled_from(Shade)),
    pairs(Literal[1, "1", True, Color.RED], st.sampled_from([1, "1", True, Color.RED])),
    pairs(int | float, st.integers(-(2**63), 2**63 - 1) | FLOATS),
    pairs(datetime.date | bool | None, DAYS | st.booleans()),
    pairs(Inner, DAYS.map(Inner)),
    pairs(Config, st.builds(Config, st.integers(0, 9), st.none() | DAYS.map(Inner), st.tuples(FLOATS))),
    pairs(Settings, st.builds(Settings, size=st.integers(0, 9), limit=st.integers(0, 9))),
    pairs(Range, st.builds(Range, FLOATS, FLOATS)),
    pairs(Row, st.fixed_dictionaries({"name": TEXTS}, optional={"size": st.integers(0, 9)})),
    pairs(Box[datetime.date], DAYS.map(Box)),
)
KEYS: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (str, TEXTS),
    (int, st.integers(-99, 99)),
    (datetime.date, DAYS),
    (Color, st.sampled_from(Color)),
)


@st.composite
def inside(draw: Any, members: st.SearchStrategy[tuple[Any, Any]]) -> tuple[Any, Any]:
    """A container of values of one type, or a tuple of several."""
    annotation, value = draw(members)
    other, second = draw(members)
    key, keys = draw(st.sampled_from(KEYS))
    hashable = annotation in (int, str, bool, datetime.date, Color, Path)
    return draw(
        st.sampled_from(
            [
                (list[annotation], [value, value]),
                (tuple[annotation, ...], (value,)),
                (tuple[annotation, other], (value, second)),
                (dict[key, annotation], {draw(keys): value}),
                *([(set[annotation], {value}), (frozenset[annotation], frozenset([value]))] if hashable else []),
            ]
        )
    )


TYPED = st.recursive(SIMPLE, inside, max_leaves=6)


def written(value: Any, native: bool) -> Any:
    """A value as data of a file; `native` where the format has dates of its own."""
    if isinstance(value, enum.Enum):
        return value.name
    if attrs.has(type(value)):
        fields = {field.alias: getattr(value, field.name) for field in attrs.fields(type(value)) if field.init}
        return written(fields, native)
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return written({name: item for name, item in fields.items() if item is not None}, native)
    if isinstance(value, Range):
        return value._asdict()
    if isinstance(value, dict):
        return {as_key(key): written(item, native) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [written(item, native) for item in value]
    if isinstance(value, datetime.timedelta):
        return f"{value.days}d {value.seconds}s {value.microseconds}us"
    if isinstance(value, datetime.date | datetime.time) and not native:
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID | Path) else value


def as_key(key: Any) -> str:
    return key.name if isinstance(key, enum.Enum) else str(key)


def toml(data: Any) -> str:
    """Data as an inline value of TOML."""
    if isinstance(data, bool):
        return str(data).lower()
    if isinstance(data, str):
        return json.dumps(data, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(data, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(toml, data)) + "]"
    return data.isoformat() if isinstance(data, datetime.date | datetime.time) else repr(data)


WRITERS = {
    "toml": lambda value: f"value = {toml(written(value, native=True))}\n",
    "json": lambda value: json.dumps({"value": written(value, native=False)}),
    "yaml": lambda value: yaml.safe_dump({"value": written_in_yaml(value)}, sort_keys=False),
}


def written_in_yaml(value: Any) -> Any:
    """YAML has dates, but no times."""
    data = written(value, native=True)
    return _without_times(data)


def _without_times(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_times(item) for key, item in data.items()}
    if isinstance(data, list):
        return [_without_times(item) for item in data]
    return data.isoformat() if isinstance(data, datetime.time) else data


@pytest.mark.parametrize("format", WRITERS)
@given(typed=TYPED)
def test_what_is_written_to_a_file_is_read_from_it(tmp_path_factory, format, typed):
    annotation, value = typed
    file = tmp_path_factory.getbasetemp() / f"value.{format}"
    file.write_text(WRITERS[format](value), encoding="utf-8", newline="")
    found = from_data(load(file)["value"], annotation)
    assert found == value
    assert repr(found) == repr(value)


@given(typed=TYPED)
def test_what_stands_on_the_command_line_as_json_is_read_from_it(typed):
    annotation, value = typed
    assume(annotation is not Any and value != "1")  # texts that are alike
    data = written(value, native=False)
    found = from_text(data if isinstance(data, str) else json.dumps(data), annotation)
    assert repr(found) == repr(value)


@given(st.dictionaries(st.sampled_from(sorted({*UNITS} - {"m"})), st.integers(0, 10**6), min_size=1))
def test_a_duration_is_the_sum_of_its_parts(parts):
    found = from_text(" ".join(f"{number}{unit}" for unit, number in parts.items()), datetime.timedelta)
    assert found == sum(
        (number * datetime.timedelta(seconds=UNITS[unit]) for unit, number in parts.items()), datetime.timedelta()
    )
