"""Annotations: what a step promises, and whether one annotation fits another."""

from __future__ import annotations

import collections.abc
import datetime
import functools
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, Protocol, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from drystone.annotations import (
    abbreviated,
    accepts,
    bare,
    declared_outputs,
    described,
    fits,
    member_annotations,
    resolved_annotations,
)
from drystone.declarations import Artifact, Model
from drystone.errors import PipelineDefinitionError

if TYPE_CHECKING:
    from decimal import Decimal


def named(value: object) -> str:
    """What a case is called: the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Animal:
    def __repr__(self) -> str:
        return type(self).__name__


class Dog(Animal): ...


class Barks(Protocol):
    def bark(self) -> None: ...


class Row(TypedDict):
    name: str


class Scores(NamedTuple):
    auc: float
    model: Annotated[str, Artifact("best_model")]


class Priced(NamedTuple):
    price: Decimal


Metres = NewType("Metres", float)
T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (int, int),
        (int, float),
        (bool, int),
        (int, bool),
        (Dog, Animal),
        (Animal, Dog),
        (int, Any),
        (Any, int),
        (int, object),
        (int, T),
        (int, Bound),
        (int, int | None),
        (int | str, int),
        (typing.Union[int, None], int | None),  # noqa: UP007 - the older way, which users have
        (None, int | None),
        (list, Sequence),
        (list[int], Sequence[int]),
        (list[int], list),
        (list[int], list[float]),
        (dict[str, int], Mapping[str, int]),
        (dict[str, int], Iterable[str]),
        (dict, Row),
        (Row, dict[str, Any]),
        (tuple[int, str], tuple[int, str]),
        (tuple[int, int], tuple[int, ...]),
        (tuple[int, ...], tuple[int, int]),
        (tuple[int, str], tuple),
        (Literal["a"], str),
        (str, Literal["a"]),
        (Literal["a"], Literal["a", "b"]),
        (Metres, float),
        (Metres, int | float),
        (Animal, Barks),
        (type(lambda: 0), Callable[[int], str]),
        (Callable[[int], str], Callable),
        (Annotated[int, "x"], int),
        (npt.NDArray[np.float64], np.ndarray),
        (Path, Path),
        (datetime.datetime, datetime.date),
    ],
    ids=named,
)
def test_what_may_fit_fits(source: Any, target: Any) -> None:
    assert fits(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (int, dict),
        (int, str),
        (float, int),
        (None, int),
        (int, None),
        (str, Path),
        (Dog, int),
        (int, str | dict[str, int]),
        (int | float, str),
        (list[int], dict),
        (list[int], list[str]),
        (list[list[int]], list[list[str]]),
        (dict[str, int], dict[str, str]),
        (tuple[int, str], tuple[str, int]),
        (tuple[int, str], tuple[int, str, str]),
        (tuple[str, ...], tuple[int, ...]),
        (Literal[1], str),
        (str, Literal[1]),
        (Literal["a"], Literal["b"]),
        (int, Iterable[int]),
        (Metres, str),
        (int, Row),
        (np.ndarray, dict),
    ],
    ids=named,
)
def test_what_surely_does_not_fit_is_refused(source: Any, target: Any) -> None:
    assert not fits(source, target)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.tuples(st.text())
)
TYPES = st.sampled_from(
    [None, bool, int, float, str, list, list[int], tuple, tuple[str], dict, int | None, Sequence, Any]
)


@given(VALUES, TYPES)
def test_a_value_is_accepted_where_its_class_fits(value: Any, annotation: Any) -> None:
    if accepts(value, annotation):
        assert fits(type(value), annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (True, int),
        (None, None),
        (None, int | None),
        ("a", Literal["a", "b"]),
        ([1, 2], list[int]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Row),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        ({1}, set[int]),
        (bytearray(b""), bytes),
        (np.zeros(2), np.ndarray),
        (np.zeros(2), npt.NDArray[np.float64]),
        (Dog(), Animal),
        (Dog(), Barks),
        (len, Callable[[Any], int]),
        (1, T),
        (..., Any),
    ],
    ids=named,
)
def test_values_of_a_type_are_accepted(value: Any, annotation: Any) -> None:
    assert accepts(value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1.0, int),
        ("1", int),
        (None, int),
        ("c", Literal["a", "b"]),
        (True, Literal[1]),
        (np.zeros(2), Literal["a"]),
        ([1, "a"], list[int]),
        ({"a": "b"}, dict[str, int]),
        ({1: 1}, dict[str, int]),
        ((1, 2), tuple[int, str]),
        ((1,), tuple[int, str]),
        ((1, "a"), tuple[int, ...]),
        ([1], tuple[int]),
        ({"a"}, set[int]),
        (Animal(), Dog),
        (1, str | None),
        (1, Callable),
    ],
    ids=named,
)
def test_values_of_another_type_are_not(value: Any, annotation: Any) -> None:
    assert not accepts(value, annotation)


def test_only_the_beginning_of_a_long_list_is_looked_at() -> None:
    assert accepts([1] * 1000 + ["a"], list[int])


def outputs(function: Callable[..., Any]) -> list[tuple[str, Any, str | None]]:
    return [
        (each.name, each.annotation, each.artifact.name) for each in declared_outputs(resolved_annotations(function))
    ]


def test_outputs_are_named_by_their_artifact() -> None:
    def named() -> Annotated[int, Artifact("total")]: ...
    def text() -> Annotated[int, "total"]: ...
    def template() -> Annotated[int, Artifact("total-{date}")]: ...
    def plain() -> int: ...
    def silent(): ...  # type: ignore[no-untyped-def]
    def nothing() -> None: ...

    assert outputs(named) == [("total", int, "total")]
    assert outputs(text) == [("total", int, "total")]
    assert outputs(template) == [("output", int, "total-{date}")]
    assert outputs(plain) == [("output", int, None)]
    assert outputs(silent) == [("output", Any, None)]
    assert outputs(nothing) == []


def test_a_fixed_tuple_is_several_outputs_and_another_tuple_is_one() -> None:
    def pair() -> tuple[Annotated[int, "count"], str]: ...
    def scores() -> Scores: ...
    def many() -> tuple[int, ...]: ...
    def one() -> Annotated[tuple[int, str], "both"]: ...

    assert outputs(pair) == [("count", int, "count"), ("output_1", str, None)]
    assert outputs(scores) == [("auc", float, None), ("best_model", str, "best_model")]
    assert outputs(many) == [("output", tuple[int, ...], None)]
    assert outputs(one) == [("both", tuple[int, str], "both")]


def test_a_declaration_may_stand_inside_another_annotation() -> None:
    inside = typing.Optional[Annotated[int, Artifact("total", tags={"team": "ops"})]]  # noqa: UP045 - as users write it
    assert bare(typing.get_args(inside)[0]) is int
    assert {Model("delays", tags={"a": []}).shared: 1}[Model("delays", tags={"a": []}).shared] == 1


def test_a_name_is_text() -> None:
    with pytest.raises(ValueError, match=r"^3 cannot be the name of an artifact\. A name is text, not blank, not '\.'"):
        Artifact(3)  # type: ignore[arg-type]


def test_an_alias_of_an_annotation_is_looked_through() -> None:
    features = TypeAliasType("features", Annotated[int, "features"])
    both = TypeAliasType("both", tuple[features, str])  # type: ignore[valid-type]

    assert [each.name for each in declared_outputs({"return": features})] == ["features"]
    assert [each.name for each in declared_outputs({"return": both})] == ["features", "output_1"]


def test_names_inside_an_annotation_are_resolved_too() -> None:
    def rows() -> list[Animal]: ...

    rows.__annotations__ = {"return": list["Dog"]}
    assert resolved_annotations(rows) == {"return": list[Dog]}


def test_a_decorated_local_function_is_looked_up_where_it_is_defined() -> None:
    local = Dog

    def feed(dog: local) -> local:  # type: ignore[valid-type]
        return local()

    @functools.wraps(feed)
    def wrapper(*args: Any) -> Any:
        return feed(*args)

    assert resolved_annotations(wrapper) == {"dog": Dog, "return": Dog}


def test_annotations_are_found_in_the_enclosing_function() -> None:
    local = Dog

    def feed(dog: local) -> local:  # type: ignore[valid-type]
        return local()

    assert resolved_annotations(feed) == {"dog": Dog, "return": Dog}


def test_a_name_that_exists_only_for_the_type_checker_is_an_error() -> None:
    def price() -> Decimal: ...

    with pytest.raises(PipelineDefinitionError) as caught:
        resolved_annotations(price)
    assert str(caught.value) == (
        f"The annotations of {price.__qualname__} name 'Decimal', which does not exist when the pipeline is built. "
        f"Import "
        "it at run time (not under TYPE_CHECKING) or define it at module level."
    )


def test_a_field_of_a_named_tuple_that_exists_only_for_the_type_checker_is_an_error() -> None:
    with pytest.raises(PipelineDefinitionError, match=r"^The annotations of Priced name 'Decimal', which does not"):
        declared_outputs({"return": Priced})


def test_a_value_that_cannot_be_shown_is_told_by_its_class() -> None:
    assert abbreviated("a" * 300) == f"'{'a' * 199}"
    assert abbreviated(10**5000) == "a value of int"


def test_an_annotation_that_cannot_be_evaluated_is_an_error() -> None:
    def when() -> datetime.moment: ...  # type: ignore[name-defined]

    with pytest.raises(PipelineDefinitionError) as caught:
        resolved_annotations(when)
    assert str(caught.value) == (
        f"The annotations of {when.__qualname__} cannot be evaluated (AttributeError: module 'datetime' has no "
        f"attribute "
        "'moment')."
    )


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "NoneType"),
        (Path, "pathlib.Path"),
        (list[int], "list[int]"),
        (int | None, "int | None"),
        (typing.Literal["a"], "Literal['a']"),
        (Annotated[int, Artifact("a")], "int"),
        (Dog, f"{__name__}.Dog"),
    ],
    ids=named,
)
def test_messages_show_annotations_as_they_are_written(annotation: Any, text: str) -> None:
    assert described(annotation) == text.replace("pathlib.Path", f"{Path.__module__}.Path")


def test_members_of_containers_have_annotations_of_their_own() -> None:
    assert member_annotations(list[int], list, 2) == [int, int]
    assert member_annotations(dict[str, float], dict, 1) == [float]
    assert member_annotations(tuple[int, str], tuple, 2) == [int, str]
    assert member_annotations(tuple[int, ...], tuple, 2) == [int, int]
    assert member_annotations(Sequence[int], list, 1) == [int]
    assert member_annotations(Any, dict, 1) == [Any]


def test_bare_looks_through_names_and_extras() -> None:
    assert bare(Annotated[Metres, "x"]) is float
    assert bare(Bound) is int
    assert bare(None) is type(None)
    assert bare(collections.abc.Sized) is collections.abc.Sized
