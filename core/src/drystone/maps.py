"""`step.map` and `step.product`: one call of a step for each member of some lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from drystone import fans
from drystone.errors import PipelineDefinitionError
from drystone.functions import Declared, P, R
from drystone.graphs import building

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Mappable(Declared[P, R]):
    """What can be called for each member of some lists."""

    after: Any = ()
    when: Any = None

    @overload
    def map(self: Mappable[P, tuple[A, B]], *args: Any, **kwargs: Any) -> tuple[list[A], list[B]]: ...

    @overload
    def map(self: Mappable[P, tuple[A, B, C]], *args: Any, **kwargs: Any) -> tuple[list[A], list[B], list[C]]: ...

    @overload
    def map(self, *args: Any, **kwargs: Any) -> list[R]: ...

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function for the members of some lists, place by place; returns the list of what it returns.

        In the body of a pipeline the lists may be known only when it runs, and the elements run beside each other. A
        step of several outputs gives a list of each.

        Args:
            *args: Lists of one length, or `unmapped(value)` for what every element takes as a whole.
            **kwargs: The same, by parameter.

        Raises:
            PipelineDefinitionError: Nothing varies, something that varies is no list, or the lengths differ.
        """
        return self._fanned(fans.ZIP, args, kwargs)

    @overload
    def product(self: Mappable[P, tuple[A, B]], *args: Any, **kwargs: Any) -> tuple[list[A], list[B]]: ...

    @overload
    def product(self: Mappable[P, tuple[A, B, C]], *args: Any, **kwargs: Any) -> tuple[list[A], list[B], list[C]]: ...

    @overload
    def product(self, *args: Any, **kwargs: Any) -> list[R]: ...

    def product(self, *args: Any, **kwargs: Any) -> Any:
        """As `map`, for every combination of the lists' members; the last list varies first."""
        return self._fanned(fans.PRODUCT, args, kwargs)

    def _fanned(self, fan: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = {name: fans.marked(each) for name, each in kwargs.items()}
        lists, whole = fans.split(self.label, self.bound_arguments(tuple(map(fans.marked, args)), given))
        builder = building.get()
        if builder is not None:
            added = {"after": self.after, "when": self.when, "mapped": tuple(lists), "fan": fan}
            return builder.add(self, lists | whole, **added)
        function: Callable[..., Any] = self.fn
        lists = {name: fans.plain_list(self.label, name, each) for name, each in lists.items()}
        lengths = {name: len(each) for name, each in lists.items()}
        problem = fans.mismatch(fan, lengths)
        if problem is not None:
            raise PipelineDefinitionError(f"{self.label} {problem}")
        elements = ({name: lists[name][place] for name, place in each.items()} for each in fans.places(fan, lengths))
        made: list[Any] = [function(**whole, **each) for each in elements]
        if not self.members:
            return made
        apart = [self.taken_apart(each) for each in made]
        return self.put_together([[each[place] for each in apart] for place in range(len(self.members))])
