"""Annotations: what a step promises, and whether one annotation fits another."""

from __future__ import annotations

import collections.abc
import datetime
import enum
import functools
import numbers
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
)

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from drystone.annotations import abbreviated, bare, described, resolved_annotations
from drystone.declarations import Artifact, Model
from drystone.errors import PipelineDefinitionError
from drystone.fitting import accepts, fits, member_annotations
from drystone.functions import declared_outputs

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


def named(value: object) -> str:
    """What a case is called: the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Animal:
    def __repr__(self) -> str:
        return type(self).__name__


class Dog(Animal): ...


class Hound(Dog):
    def bark(self) -> None: ...


class Stone: ...


class Barks(Protocol):
    def bark(self) -> None: ...


class Named(Protocol):
    name: str


class Mixin: ...


class Base: ...


class Both(Mixin, Base): ...


class Colour(enum.Enum):
    RED = 1


class Row(TypedDict):
    name: str


class Person(Row):
    age: int


class Partial(TypedDict, total=False):
    name: int


class Keyed(TypedDict, Generic[T]):
    item: T


class Labelled(NamedTuple, Generic[T]):
    item: T
    label: str


class Box(Generic[T]): ...


class Pair(Generic[T, U]): ...


class Half(Pair[T, int]): ...


class Ints(list[int]): ...


class Column(Sequence[int]):
    def __getitem__(self, index: Any) -> Any: ...

    def __len__(self) -> int:
        return 0


class Job(Generic[P]): ...


class Scores(NamedTuple):
    auc: float
    model: Annotated[str, Artifact("best_model")]


class Priced(NamedTuple):
    price: Decimal


Metres = NewType("Metres", float)
Feet = NewType("Feet", float)
Steps = NewType("Steps", Metres)
Bound = TypeVar("Bound", bound=int)
Number = TypeVar("Number", int, float)
Listed = TypeAliasType("Listed", list[T], type_params=(T,))


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
        # Generic classes, their subclasses and aliases
        (Box[bool], Box[int]),
        (Box, Box[int]),
        (Half[str], Pair[str, int]),
        (Ints, list[int]),
        (Ints, Iterable[int]),
        (Column, Sequence[int]),
        (Listed[int], list[int]),
        (list[int], Listed[int]),
        (Labelled[int], tuple[int, str]),
        (Job[int, str], Job[[int, str]]),
        (Job[...], Job[[int]]),
        # Containers, seen as their interfaces
        (str, Sequence[str]),
        (bytes, Sequence[int]),
        (tuple[int, str], Sequence[int]),
        (tuple[int, *tuple[str, ...]], tuple[int, str, str]),
        (Sequence[int], list[int]),
        (collections.OrderedDict[str, int], dict[str, int]),
        (collections.Counter[str], Iterable[str]),
        (Generator[int, None, None], Iterator[int]),
        (collections.abc.ItemsView[str, int], Iterable[tuple[str, int]]),
        (Iterable[int], collections.abc.Sized),
        (collections.abc.Hashable, Iterable[int]),
        # Structure
        (Hound, Barks),
        (Barks, Animal),
        (Barks, Named),
        (Stone, Named),
        (Mixin, Base),
        (Person, Row),
        (Partial, Partial),
        (Row, Partial | Row),
        (Keyed[int], Keyed[int]),
        (dict[str, Any], Person),
        (Person, dict[str, Any]),
        (Person, Mapping[str, object]),
        # The rest
        (Steps, Metres),
        (Metres, Steps),
        (float, Metres),
        (list[Steps], list[Metres]),
        (Number, int),
        (typing.Self, int),
        (typing.LiteralString, str),
        (Colour, Literal[Colour.RED]),
        (int, numbers.Number),
        (np.int64, numbers.Integral),
        (np.float64, float),
        (type[Dog], type[Animal]),
        (type[Dog], type),
        (type[Dog], Callable[[], Dog]),
        (Callable[[int], str], Callable[[bool], str]),
        (Callable[..., str], Callable[[int], str]),
        (Callable[P, str], Callable[[int], str]),
        (npt.NDArray[np.float64], npt.NDArray[np.floating]),
        (npt.NDArray[np.float64], npt.NDArray[Any]),
        (npt.NDArray[np.float64], Iterable[Any]),
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
        # Generic classes, their subclasses and aliases
        (Box[int], Box[str]),
        (Half[str], Pair[str, str]),
        (Half[str], Pair[int, int]),
        (Ints, list[str]),
        (Ints, Iterable[str]),
        (Column, Sequence[str]),
        (Listed[int], list[str]),
        (Labelled[int], tuple[str, str]),
        (Labelled[int], Labelled[str]),
        # Containers, seen as their interfaces
        (str, Sequence[int]),
        (bytes, Iterable[str]),
        (range, Sequence[str]),
        (dict[str, int], Iterable[int]),
        (tuple[int, str], Sequence[bytes]),
        (Sequence[int], list[str]),
        (collections.OrderedDict[str, int], dict[str, str]),
        (collections.Counter[str], Iterable[int]),
        (collections.deque[int], Iterable[str]),
        (set[int], list[int]),
        (list, collections.abc.Hashable),
        # Structure
        (Stone, Barks),
        (Barks, int),
        (int, Barks),
        (Stone, Iterable[int]),
        (Row, Person),
        (Partial, Row),
        (Row, dict[str, int]),
        (Row, dict[int, str]),
        (Row, list),
        (dict[str, int], Row),
        (Keyed[int], Keyed[str]),
        (int | list[int], Row),
        # The rest
        (Metres, Feet),
        (list[Metres], list[Feet]),
        (Steps, Feet),
        (Number, str),
        (Colour, str),
        (float, numbers.Integral),
        (str, os.PathLike),
        (type[Dog], type[int]),
        (Callable[[int], str], Callable[[str], str]),
        (Callable[[int], str], Callable[[], str]),
        (Callable[[], int], Callable[[], str]),
        (npt.NDArray[np.float64], npt.NDArray[np.str_]),
        (npt.NDArray[np.float64], pd.DataFrame),
        (pd.DataFrame, pd.Series),
        (np.ndarray, Barks),
    ],
    ids=named,
)
def test_what_surely_does_not_fit_is_refused(source: Any, target: Any) -> None:
    assert not fits(source, target)


ATOMS: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(),
    str: st.text(),
    bytes: st.binary(),
    Animal: st.builds(Animal),
    Dog: st.builds(Dog),
    Hound: st.builds(Hound),
    Stone: st.builds(Stone),
    Path: st.just(Path("a")),
    Colour: st.just(Colour.RED),
    type[Dog]: st.just(Hound),
    Ints: st.just(Ints([1])),
    Literal["a", 1]: st.sampled_from(["a", 1]),
    Row: st.builds(dict, name=st.text()),
    np.ndarray: st.just(np.zeros(2)),
    npt.NDArray[np.float32]: st.just(np.zeros(2, np.float32)),
}
"""Annotations without others inside, and the values they are for."""

WIDE: list[Any] = [Any, T, Barks, Named, Bound, Number, collections.abc.Sized, collections.abc.Hashable, object]
"""Annotations of which only values tell what they accept."""

INSIDE: dict[Any, Callable[[Any], Any]] = {
    list: lambda values: st.lists(values, min_size=1, max_size=3),
    set: lambda values: st.lists(values, min_size=1, max_size=3).map(_hashed),
    Sequence: lambda values: st.lists(values, min_size=1, max_size=3).map(tuple),
    Iterable: lambda values: st.lists(values, min_size=1, max_size=3).map(collections.deque),
}


def _hashed(values: list[Any]) -> Any:
    try:
        return set(values)
    except TypeError:
        return {1}


def _containing(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Pairs of an annotation with others inside and a strategy for its values, which are never empty."""
    return st.one_of(
        st.builds(lambda outer, pair: (outer[pair[0]], INSIDE[outer](pair[1])), st.sampled_from([*INSIDE]), inner),
        st.builds(lambda key, pair: (dict[key, pair[0]], _one_item(ATOMS[key], pair[1])), st.just(str), inner),
        st.builds(lambda one, two: (tuple[one[0], two[0]], st.tuples(one[1], two[1])), inner, inner),
        st.builds(lambda one, two: (one[0] | two[0], st.one_of(one[1], two[1])), inner, inner.filter(_joins)),
        st.builds(lambda pair: (Annotated[pair[0], "x"], pair[1]), inner),
        st.builds(lambda pair: (NewType("New", pair[0]), pair[1]), inner),  # type: ignore[misc]
    )


def _one_item(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(keys, values, min_size=1, max_size=2)


def _joins(pair: tuple[Any, Any]) -> bool:
    return pair[0] is not None


PAIRS = st.recursive(
    st.sampled_from([*ATOMS]).map(lambda each: (each, ATOMS[each])),
    _containing,
    max_leaves=4,
)


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Any, Any]:
    """An annotation and a value that it is for, in most cases."""
    annotation, values = draw(PAIRS)
    return annotation, draw(values)


@settings(max_examples=300)
@given(annotated(), annotated())
def test_a_value_is_accepted_only_where_its_class_fits(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    for annotation in (one[0], *WIDE):
        if accepts(other[1], annotation):
            assert fits(type(other[1]), annotation)


def _exact(annotation: Any) -> bool:
    """Whether a value says for which annotation it was made: 1 may be a float, and a new type is only a name."""
    text = repr(annotation)
    return not any(word in text for word in ("float", "New", "bytes"))


@settings(max_examples=300)
@given(annotated(), annotated())
def test_a_value_of_two_annotations_proves_that_they_fit(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    if _exact(one[0]) and _exact(other[0]) and accepts(one[1], one[0]) and accepts(one[1], other[0]):
        assert fits(one[0], other[0])
        assert fits(other[0], one[0])


@settings(max_examples=300)
@given(annotated(), annotated())
def test_every_annotation_fits_itself_its_unions_and_what_is_open(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    annotation = bare(one[0])
    either = typing.Union[annotation, bare(other[0])]  # noqa: UP007 - None has no operator
    assert fits(annotation, annotation)
    assert fits(annotation, either)
    assert fits(either, annotation)
    assert all(fits(annotation, each) and fits(each, annotation) for each in (Any, T, object))
    assert accepts(one[1], either) == (accepts(one[1], annotation) or accepts(one[1], other[0]))


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
        ({"name": "a"}, Row),
        ({"name": "a", "more": 1}, Row),
        ({}, Partial),
        ({"item": 1}, Keyed[int]),
        ((1, "a"), tuple[int, str]),
        ((1, "a", "b"), tuple[int, *tuple[str, ...]]),
        (Labelled(1, "a"), tuple[int, str]),
        ("abc", Sequence[str]),
        (Ints([1]), list[int]),
        (collections.deque([1]), collections.deque[int]),
        (range(3), Iterable[int]),
        (Both(), Base),
        (Hound, type[Animal]),
        (bool, type[int]),
        (1.0, Steps),
        ([[1]], Listed[list[int]]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        ({1}, set[int]),
        (bytearray(b""), bytes),
        (np.zeros(2), np.ndarray),
        (np.zeros(2), npt.NDArray[np.float64]),
        (Dog(), Animal),
        (np.zeros(2), npt.NDArray[np.floating]),
        (np.zeros((2, 2)), np.ndarray[tuple[int, int], np.dtype[np.float64]]),
        (Hound(), Barks),
        (types.SimpleNamespace(bark=print), Barks),
        ({1: "a"}, Iterable[int]),
        (types.SimpleNamespace(name="a"), Named),
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
        ({}, Row),
        ({"name": 1}, Row),
        ([("name", "a")], Row),
        ({"name": "a"}, Partial),
        ({"item": "a"}, Keyed[int]),
        ((1,), tuple[()]),
        (Labelled("a", "b"), tuple[int, str]),
        ("abc", Sequence[int]),
        ({"a": 1}, Iterable[int]),
        (Ints([1]), list[str]),
        (collections.deque([1]), collections.deque[str]),
        (range(3), Iterable[str]),
        (int, type[Animal]),
        ("a", Steps),
        ([["a"]], Listed[list[int]]),
        (np.zeros(2, np.int32), npt.NDArray[np.float64]),
        (np.zeros(2), np.ndarray[tuple[int, int], np.dtype[np.float64]]),
        (Dog(), Barks),
        (1, Barks),
        (Stone(), Named),
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
    assert {Model("delays", tags={"a": "b"}).shared: 1}[Model("delays", tags={"a": "b"}).shared] == 1


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
    assert member_annotations(list[int], list, [0, 1]) == [int, int]
    assert member_annotations(dict[str, float], dict, ["a"]) == [float]
    assert member_annotations(tuple[int, str], tuple, [0, 1]) == [int, str]
    assert member_annotations(tuple[int, ...], tuple, [0, 1]) == [int, int]
    assert member_annotations(Sequence[int], list, [0]) == [int]
    assert member_annotations(Any, dict, ["a"]) == [Any]


def test_bare_looks_through_names_and_extras() -> None:
    assert bare(Annotated[Metres, "x"]) is float
    assert bare(Bound) is int
    assert bare(None) is type(None)
    assert bare(collections.abc.Sized) is collections.abc.Sized


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type aliases came with Python 3.12")
def test_an_alias_may_name_itself_and_take_arguments() -> None:
    names: dict[str, Any] = {}
    exec("type Json = dict[str, Json] | list[Json] | str | int | None", names)
    exec("type Tree = dict[str, Tree] | list[Tree] | str | int | None", names)
    exec("type Keyed[T] = dict[str, T]", names)
    json, tree, keyed = names["Json"], names["Tree"], names["Keyed"]
    loop: list[Any] = []
    loop.append(loop)
    assert fits(json, tree)
    assert fits(int, json)
    assert not fits(bytes, json)
    assert not fits(dict[int, str], json)
    assert accepts({"a": [1, None, {"b": "c"}]}, json)
    assert accepts(loop, json)
    assert not accepts({"a": [1, {2}]}, json)
    assert fits(keyed[int], dict[str, int])
    assert not fits(keyed[int], dict[str, str])
    assert not accepts({"a": "b"}, keyed[int])
