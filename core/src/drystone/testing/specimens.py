"""Pipelines that contracts run; any process can import them."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from typing import Annotated, Any

from drystone import Artifact, Retry, get_context, load_artifact, log_metadata, pipeline, save_artifact, step, unmapped
from drystone.testing.marks import awaited, mark, marked, whereabouts

SHAPES: dict[str, dict[str, str]] = {
    "one": {"a": "work"},
    "chain": {"a": "work", "b": "work a", "c": "work b"},
    "diamond": {"a": "work", "b": "work a", "c": "work a", "d": "work b c"},
    "wide": {"a": "work", "b": "work a", "c": "work", "d": "work c", "e": "work", "f": "work e"},
    "map": {"a": "work", "b": "map a", "c": "work b"},
    "two outputs": {"a": "pair", "b": "work a.left", "c": "work a.right"},
    "condition": {"a": "work", "y": "yes a", "n": "no a", "b": "work a ?y", "c": "work a ?n"},
}
"""Graphs: for each node how it is made and what it takes; `?y` is the condition on which it runs."""

VICTIMS = {"one": "a", "chain": "b", "diamond": "b", "wide": "c", "map": "b", "two outputs": "a", "condition": "a"}
"""The node of each that may misbehave."""

ALL = "all"
"""Every shape, each beside the others, in one graph."""

SUCCEEDS, RETRIED = "succeeds", "succeeds when tried again"
FAILS, EXITS, STUBBORN, USED_UP = "fails", "exits", "raises what no pickle takes", "uses up its retries"

BEHAVIOURS = {SUCCEEDS: 1, RETRIED: 2, FAILS: 1, EXITS: 1, STUBBORN: 1, USED_UP: 2}
"""What a victim does, and how often it is started for it."""

left_behind: list[str] = []
"""What the step `litter` leaves in the process it runs in."""


class StubbornError(Exception):
    """An exception that no pickle takes, and that cannot be made of a text."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"broken on purpose, {left} of {right}")
        self.lock = threading.Lock()


def misbehave(behaviour: str) -> None:
    """Do what a victim is to do."""
    first = get_context().attempt == 1
    if behaviour in (FAILS, USED_UP) or (behaviour == RETRIED and first):
        raise ValueError("broken on purpose")
    if behaviour == EXITS:
        sys.exit(3)
    if behaviour == STUBBORN:
        raise StubbornError(1, 2)


def number(name: str, before: list[Any]) -> int:
    """What a node makes of what it takes; lists count with all their items."""
    flat = [item for each in before for item in (each if isinstance(each, list) else [each])]
    total: int = sum(flat)
    return ord(name[-1]) + 3 * total


@step(cache=False)
def work(name: str, before: list[Any], behaviour: str, marks: str) -> int:
    """Behaves, and makes a number."""
    with marked(marks, name):
        misbehave(behaviour)
        return number(name, before)


@step(cache=False)
def element(item: int, name: str, before: list[Any], behaviour: str, marks: str) -> int:
    """Behaves if it is the second, and makes a number."""
    with marked(marks, f"{name}{item}"):
        misbehave(behaviour if item == 2 else SUCCEEDS)
        return item * number(name, before)


@step(cache=False)
def pair(
    name: str, before: list[Any], behaviour: str, marks: str
) -> tuple[Annotated[int, "left"], Annotated[int, "right"]]:
    """Behaves, and makes two numbers."""
    with marked(marks, name):
        misbehave(behaviour)
        return number(name, before), -number(name, before)


@step(cache=False)
def decide(answer: bool, name: str, before: list[Any], marks: str) -> bool:
    """A condition."""
    with marked(marks, name):
        return answer


@pipeline
def shaped(shape: str, behaviour: str = SUCCEEDS, marks: str = "") -> None:
    """The graph of a shape, or of every shape, whose victims behave as they are told."""
    for each in shapes(shape):
        _draw(each, behaviour, marks)


def shapes(shape: str) -> list[str]:
    """The shapes that a name stands for."""
    return [*SHAPES] if shape == ALL else [shape]


def node_name(shape: str, node: str) -> str:
    """What the node of a shape is called in a pipeline."""
    return f"{shape}_{node}".replace(" ", "_")


def _draw(shape: str, behaviour: str, marks: str) -> None:
    """Add the nodes of a shape to the graph."""
    made: dict[str, Any] = {}
    for node, text in SHAPES[shape].items():
        name, (way, *taken) = node_name(shape, node), text.split()
        before = [made[each] for each in taken if each[0] != "?"]
        conditions = [made[each[1:]] for each in taken if each[0] == "?"]
        how = behaviour if node == VICTIMS[shape] else SUCCEEDS
        options: dict[str, Any] = {"name": name, "when": conditions[0] if conditions else None}
        if BEHAVIOURS[how] > 1:
            options["retries"] = Retry(1, delay=0)
        if way == "work":
            made[node] = work.with_options(**options)(name, before, how, marks)
        elif way == "map":
            mapped = element.with_options(**options)
            made[node] = mapped.map([1, 2, 3], unmapped(name), unmapped(before), unmapped(how), unmapped(marks))
        elif way == "pair":
            made[f"{node}.left"], made[f"{node}.right"] = pair.with_options(**options)(name, before, how, marks)
        else:
            made[node] = decide.with_options(**options)(way == "yes", name, before, marks)


@pipeline
def failing_each(marks: str = "") -> None:
    """Steps that fail in every way, beside one that succeeds."""
    for place, behaviour in enumerate(BEHAVIOURS):
        retries = Retry(1, delay=0) if BEHAVIOURS[behaviour] > 1 else None
        work.with_options(name=f"step{place}", retries=retries)("x", [], behaviour, marks)


@step(cache=False)
def double(value: int) -> int:
    """Twice a number."""
    return 2 * value


@pipeline
def doubled(value: int) -> int:
    """A number, twice doubled."""
    return double(double(value))


# Steps that wait for each other


@step(cache=False)
def meet(name: str, other: str, marks: str, patience: float) -> bool:
    """Whether another step has begun, before this one ends."""
    with marked(marks, name):
        return awaited(marks, f"begin {other}", patience)


@pipeline
def meeting(marks: str, patience: float, left: str = "left", right: str = "right") -> Any:
    """Two steps that wait for each other."""
    return {
        "left": meet.with_options(name="left")(left, right, marks, patience),
        "right": meet.with_options(name="right")(right, left, marks, patience),
    }


@step(cache=False)
def fail_beside(other: str, marks: str, patience: float) -> int:
    """Fails once another step has begun."""
    awaited(marks, f"begin {other}", patience)
    raise ValueError("broken on purpose")


@step(cache=False)
def hang(marks: str, patience: float) -> int:
    """Waits to be let go."""
    with marked(marks, "hang"):
        if not awaited(marks, "go", patience):
            mark(marks, "waited in vain")
        return 1


@step(cache=False)
def follow(value: int, marks: str) -> int:
    """Comes after another."""
    with marked(marks, "follow"):
        return value


@pipeline
def branches(marks: str, meets: float, hangs: float) -> None:
    """A step fails while another, which a third one needs, waits to be let go."""
    fail_beside.with_options(name="broken")("hang", marks, meets)
    follow(hang(marks, hangs), marks)


@pipeline
def hanging(marks: str, hangs: float) -> None:
    """A step waits to be let go, a second one needs it, a third is beside them."""
    follow(hang(marks, hangs), marks)
    double.with_options(name="beside")(1)


# Steps that are hard on their process


@step(cache=False)
def vanish(way: str, driver: str) -> int:
    """Ends its process, unless that is the driver's."""
    if whereabouts() == driver:
        raise RuntimeError("this step runs in the driver's own process, though its orchestrator declares 'isolation'")
    if way == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


@pipeline
def dying(driver: str) -> None:
    """Two steps end their processes; two others have nothing to do with that."""
    vanish.with_options(name="exits")("exit", driver)
    vanish.with_options(name="killed")("SIGKILL", driver)
    double.with_options(name="second")(double.with_options(name="first")(1))


@step(cache=False)
def gorge(size: int, marks: str, patience: float) -> int:
    """Takes memory, and keeps it until it is ended."""
    held = b"x" * size
    if not awaited(marks, "go", patience):
        mark(marks, "waited in vain")
    return len(held)


@pipeline
def gorging(size: int, marks: str, patience: float) -> None:
    """One step that takes memory."""
    gorge(size, marks, patience)


@step(cache=False)
def litter(to: str) -> str:
    """Leaves things behind in its process; returns what that is."""
    os.environ["DRYSTONE_LITTER"] = "left"
    left_behind.append("left")
    os.chdir(to)
    return whereabouts()


@step(cache=False)
def look_around(before: str) -> list[str]:
    """The working directory, and what else another step has left."""
    return [os.getcwd(), os.environ.get("DRYSTONE_LITTER", "")]


@pipeline
def littering(to: str) -> Any:
    """A step leaves things behind, another one comes after it, and a third is beside them."""
    before = litter(to)
    double.with_options(name="beside")(1)
    return {"whereabouts": before, "seen": look_around(before)}


# What comes and goes


@step(cache=False)
def speak(name: str, other: str, marks: str, patience: float, spawns: bool) -> None:
    """Prints, complains, logs, and lets another process print, before and after another step has begun."""
    handler, logger = logging.StreamHandler(), logging.getLogger(f"drystone.testing.{name}")
    logger.addHandler(handler)
    try:
        for time in ("early", "late"):
            print(f"{name} prints {time}", flush=True)  # noqa: T201 - that is what it is for
            print(f"{name} complains {time}", file=sys.stderr, flush=True)  # noqa: T201
            logger.warning("%s logs %s", name, time)
            if spawns:
                subprocess.run(["/bin/echo", f"{name} spawns {time}"], check=True)
            mark(marks, f"{name} {time}")
            awaited(marks, f"{other} {time}", patience)
    finally:
        logger.removeHandler(handler)


@pipeline
def speaking(marks: str, patience: float, spawns: bool) -> None:
    """Two steps print at the same time."""
    speak.with_options(name="cora")("cora", "otto", marks, patience, spawns)
    speak.with_options(name="otto")("otto", "cora", marks, patience, spawns)


@step(cache=False)
def complain() -> None:
    """Prints, and fails in a module of the standard library, which the traceback has to name."""
    print("before it failed")  # noqa: T201
    Fraction("no number")


@pipeline
def complaining() -> None:
    """One step that prints and fails."""
    complain()


@step(cache=False)
def make(seed: str, size: int) -> bytes:
    """Bytes that do not repeat."""
    return hashlib.shake_128(seed.encode()).digest(size)


@step(cache=False)
def measure(data: bytes) -> str:
    """What tells bytes from others."""
    return f"{len(data)} {hashlib.blake2b(data).hexdigest()}"


@pipeline
def large(seed: str, size: int) -> Any:
    """Many bytes, out of a step and into another."""
    data = make(seed, size)
    return {"data": data, "measured": measure(data)}


@step(cache=False)
def note(text: str) -> int:
    """Logs a text that it is given as metadata."""
    log_metadata({"text": text})
    return len(text)


@pipeline
def noting(text: str) -> int:
    """One step that is given a text."""
    return note(text)


@step(cache=False)
def give(value: int) -> Annotated[int, Artifact("contract.given")]:
    """Makes an artifact with a name."""
    return value


@pipeline
def giving(value: int) -> int:
    """One artifact with a name."""
    return give(value)


@step(cache=False)
def ask() -> int:
    """Asks the workspace for everything that a step may ask for."""
    given: int = load_artifact("contract.given")
    log_metadata({"given": given, "attempt": get_context().attempt, "step": get_context().step})
    save_artifact([given, given], "contract.saved")
    return given


@pipeline
def asking() -> int:
    """One step that asks the workspace, and one beside it."""
    double.with_options(name="beside")(1)
    return ask()
