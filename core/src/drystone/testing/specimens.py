"""Pipelines that contracts run; any process can import them."""

from __future__ import annotations

from drystone import pipeline, step


@step(cache=False)
def number(value: int = 1) -> int:
    """The number it is given."""
    return value


@step(cache=False)
def double(value: int) -> int:
    """Twice a number."""
    return 2 * value


@step(cache=False)
def add(left: int, right: int) -> int:
    """The sum of two numbers."""
    return left + right


@step(cache=False)
def long_text(length: int) -> str:
    """A text of so many characters."""
    return "x" * length


@step(cache=False)
def broken() -> int:
    """Raises ValueError."""
    raise ValueError("broken on purpose")


@pipeline
def one() -> int:
    """One step."""
    return number(7)


@pipeline
def chain() -> int:
    """Three steps, one after another."""
    return double(double(number(3)))


@pipeline
def diamond() -> int:
    """Two steps beside each other, between two others."""
    top = number(5)
    return add(double(top), number(top))


@pipeline
def big(length: int = 20_000_000) -> str:
    """One large result."""
    return long_text(length)


@pipeline
def failing() -> int:
    """A step fails before another."""
    return double(broken())
