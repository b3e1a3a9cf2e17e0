"""What Drystone costs, as ratios against plain Python doing the same work in the same run.

Run by hand: `python tests/benchmarks/overhead.py`; with `--smoke`, small sizes that only show that it works.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blake3 import blake3

from drystone import pipeline, step

AUTHORING = "from drystone import step, pipeline, Model, Artifact"


def seconds(call: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def process_ratio(one: list[str], other: list[str], rounds: int) -> tuple[float, float, float]:
    """Median CPU seconds of two commands run in turn, and the median of their ratios, pair by pair.

    CPU time and pairs, since the speed of a shared machine drifts more than these commands differ.
    """

    def spent(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    spent(one), spent(other)
    pairs = [(spent(one), spent(other)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


def starts(rounds: int) -> None:
    """Import of the authoring API, and `drystone --help`."""
    python = [sys.executable, "-c"]
    a, b, ratio = process_ratio([*python, AUTHORING], [*python, "import attrs"], rounds)
    print(f"authoring import        {a * 1000:8.1f} ms   import attrs {b * 1000:.1f} ms   ratio {ratio:.2f} (bar 1.5)")
    command = [str(Path(sys.executable).with_name("drystone")), "--help"]
    a, b, ratio = process_ratio(command, [*python, "import click, importlib.metadata"], rounds)
    print(f"drystone --help         {a * 1000:8.1f} ms   import click {b * 1000:.1f} ms   ratio {ratio:.2f} (bar 1.5)")


def steps(count: int) -> None:
    """A chain of trivial steps, run and cached."""

    @step
    def grow(x: int) -> int:
        return x + 1

    @pipeline
    def chain(start: int):
        for _ in range(count):
            start = grow(start)
        return start

    def plain(start: int) -> int:
        for _ in range(count):
            start = grow(start)
        return start

    chain(start=-1)
    floor = seconds(lambda: plain(0))
    ran = [seconds(lambda start=start: chain(start=start)) for start in range(0, 5000, 1000)]
    cached = [seconds(lambda start=start: chain(start=start)) for start in range(0, 5000, 1000)]
    for label, times, bar in (("executed", ran, 1.0), ("cached", cached, 0.5)):
        each = (statistics.median(times) - floor) / count * 1000
        print(f"{count} steps {label:<9}     {each:8.3f} ms a step beyond plain Python (bar {bar})")


@functools.cache
def large_array(megabytes: int) -> np.ndarray:
    """The same array for the step and for plain Python; a global one would be hashed into the step's key."""
    return np.random.default_rng(0).integers(0, 255, size=megabytes << 20, dtype=np.uint8)


def array(megabytes: int) -> None:
    """A large array through a step border, against np.save, BLAKE3 of the same bytes and the same fsync."""
    data = large_array(megabytes)

    def plain() -> None:
        path = Path("plain.npy")
        with path.open("wb") as file:
            np.save(file, data)
            file.flush()
            os.fsync(file.fileno())
        blake3(data).hexdigest()
        path.unlink()

    @step(cache=False)
    def make(seed: int, megabytes: int) -> np.ndarray:
        data = large_array(megabytes)
        data[0] = seed
        return data

    @pipeline
    def making(seed: int):
        return make(seed, megabytes)

    making(seed=200)
    pairs = [(seconds(lambda seed=seed: making(seed=seed)), seconds(plain)) for seed in range(3)]
    ratio = statistics.median(a / b for a, b in pairs)
    median = statistics.median(a for a, _ in pairs)
    print(f"{megabytes} MiB array written {median:10.3f} s    plain ratio {ratio:.2f} (bar 1.3)")
    version = making(seed=1).output
    loaded = seconds(version.load)
    print(f"{megabytes} MiB array loaded  {loaded * 1000:10.2f} ms (bar 50), mapped: {type(version.load()).__name__}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    starts(1 if smoke else 40)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path("pyproject.toml").touch()
        steps(10 if smoke else 100)
        array(8 if smoke else 1024)


if __name__ == "__main__":
    main()
