"""Parameters from text."""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest

from drystone_cli.parameters import parsed, value_of


class Color(enum.Enum):
    RED = 1
    BLUE = 2


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
        ('{"2026-01-31": "x"}', dict[datetime.date, str], {datetime.date(2026, 1, 31): "x"}),
    ],
)
def test_a_text_is_read_as_its_annotation(text, annotation, value):
    found = value_of(text, annotation)
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
        ('{"x": 1}', dict[int, int], "it takes a whole number, not 'x'."),
        ("[1]", dict[str, int], """it takes JSON like {"name": value}, not '[1]'."""),
        ("x", Literal["fast", "slow"], "it takes one of 'fast', 'slow'."),
        ("x", Color, "it takes one of RED, BLUE."),
        ("x", int | None, "it takes a whole number, not 'x'."),
        ("x", complex, "a value of complex cannot be written on the command line."),
    ],
)
def test_what_cannot_be_read_says_what_would_do(text, annotation, message):
    with pytest.raises(ValueError, match=r".") as caught:
        value_of(text, annotation)
    assert str(caught.value) == message


def pipeline(rows: Annotated[int, "how many"], day: datetime.date, label="x", anything=None, rate=0.5):
    """For its signature."""


def test_arguments_follow_the_signature_and_its_defaults():
    found = parsed(pipeline, ["rows=3", "day=2026-01-31", "label=7", "rate=2", "anything=[1]", "unknown=1"])
    assert found == {
        "rows": 3,
        "day": datetime.date(2026, 1, 31),
        "label": "7",
        "rate": 2.0,
        "anything": [1],
        "unknown": "1",
    }


def test_annotations_that_cannot_be_read_are_left_to_the_pipeline():
    def odd(day: datetime.dat, rate: "3 +" = 0.5):  # noqa: F722
        """For its signature."""

    assert parsed(odd, ["day=x", "rate=2"]) == {"day": "x", "rate": 2.0}


def test_every_wrong_parameter_is_named_at_once():
    with pytest.raises(click.UsageError) as caught:
        parsed(pipeline, ["rows=x", "day=y", "nonsense", "label=a", "label=b"])
    assert caught.value.message == (
        "--param rows=x: it takes a whole number, not 'x'. --param day=y: it takes a date like 2026-01-31, not 'y'. "
        "--param 'nonsense' is not of the form name=value. --param label is given twice."
    )
