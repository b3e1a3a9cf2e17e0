"""What a running step knows, and the metadata it may log."""

import collections
import datetime
import enum
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone import get_context, log_metadata
from drystone.contexts import StepContext, active, checked_metadata
from drystone.errors import StepContextError


class Collector:
    """Effects that are only noted."""

    def __init__(self) -> None:
        self.logged: list[tuple[Mapping[str, Any], str | None]] = []

    def log_metadata(self, values: Mapping[str, Any], artifact: str | None) -> None:
        self.logged.append((values, artifact))

    def save_artifact(self, value: Any, name: str, **options: Any) -> Any:
        return name


@pytest.fixture
def collector() -> Iterator[Collector]:
    """The effects of a step that runs during the test."""
    effects = Collector()
    token = active.set(StepContext(run="training-3", pipeline="training", step="train", effects=effects))
    yield effects
    active.reset(token)


def test_a_step_knows_where_it_runs(collector: Collector) -> None:
    context = get_context()
    assert (context.run, context.pipeline, context.step, context.attempt) == ("training-3", "training", "train", 1)
    assert context.model_version is None
    assert context.parameters == {}
    assert "effects" not in repr(context)


def test_outside_a_step_there_is_no_context() -> None:
    with pytest.raises(StepContextError) as caught:
        get_context()
    assert str(caught.value) == (
        "get_context() was called outside a running step. Inside a step of a running pipeline it says which run and "
        "step "
        "that is; in a plain call of a step there is none."
    )


def test_metadata_goes_to_the_step_or_to_one_output(collector: Collector) -> None:
    log_metadata({"auc": np.float64(0.75)})
    log_metadata({"rows": np.int64(3)}, artifact="features")
    assert collector.logged == [({"auc": 0.75}, None), ({"rows": 3}, "features")]


def test_in_a_plain_call_metadata_is_checked_and_dropped() -> None:
    log_metadata({"auc": 0.75})
    with pytest.raises(TypeError, match=r"^Metadata takes JSON values"):
        log_metadata({"auc": object()})


class Level(enum.IntEnum):
    HIGH = 3


class Colour(str, enum.Enum):  # noqa: UP042 - the older way, which users have
    RED = "red"


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"a/b"

    def __repr__(self) -> str:
        return "BytesPath()"


class Plain(enum.Enum):
    PAIR = (1, 2)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (np.bool_(True), True),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.array(7), 7),
        (np.str_("a"), "a"),
        (np.datetime64("2026-01-01T00:00:00.5", "ns"), "2026-01-01T00:00:00.500000000"),
        (float("nan"), {"float": "nan"}),
        (float("-inf"), {"float": "-inf"}),
        (np.float64("inf"), {"float": "inf"}),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
        (Plain.PAIR, [1, 2]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "2026-01-02T03:00:00+00:00"),
        (datetime.time(3, 4), "03:04:00"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (BytesPath(), "a/b"),
        ((1, [np.int8(2)]), [1, [2]]),
        ({"a": {1: np.int8(2)}}, {"a": {"1": 2}}),
        (collections.OrderedDict(a=1), {"a": 1}),
    ],
    ids=repr,
)
def test_metadata_is_kept_as_json(value: Any, kept: Any) -> None:
    checked = checked_metadata({"value": value})["value"]
    assert checked == kept
    assert type(checked) is type(kept)
    json.dumps(checked, allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_json_is_kept_as_it_is(values: dict[str, Any]) -> None:
    assert checked_metadata(values) == values


def test_every_bad_value_is_named_and_nothing_is_logged(collector: Collector) -> None:
    with pytest.raises(TypeError) as caught:
        log_metadata({"good": 1, "raw": b"", "deep": {"list": [0, {1, 2}]}, "frame": np.zeros(2)})
    assert str(caught.value) == (
        "Metadata takes JSON values, numpy scalars, dates and paths. raw is builtins.bytes. deep.list[1] is "
        "builtins.set. "
        "frame is numpy.ndarray. Nothing was logged; a large or structured value belongs into an artifact "
        "(save_artifact)."
    )
    assert collector.logged == []


def test_what_json_cannot_hold_is_an_error_at_the_call() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match=r"dates and paths\. It contains itself, or is nested too deeply\. Nothing"):
        checked_metadata({"loop": loop})
    with pytest.raises(TypeError, match=r"rows\[0\] is an integer of more than 512 bits\."):
        checked_metadata({"rows": [10**5000]})


def test_names_that_become_one_are_an_error() -> None:
    with pytest.raises(TypeError, match=r"It has several keys that read the same as text\."):
        checked_metadata({1: "a", "1": "b"})
    with pytest.raises(TypeError, match=r"by_month has several keys that read the same as text\."):
        checked_metadata({"by_month": {1: "a", "1": "b"}})


def test_metadata_that_is_no_mapping_is_an_error() -> None:
    with pytest.raises(TypeError) as caught:
        log_metadata([("auc", 1)])  # type: ignore[arg-type]
    assert str(caught.value) == "Metadata is a mapping of names to values, not list."
