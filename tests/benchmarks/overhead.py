"""What Drystone costs, as ratios against plain Python doing the same work in the same run.

Run by hand: `python tests/benchmarks/overhead.py`; with `--smoke`, small sizes that only show that it works.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blake3 import blake3

from drystone import Workspace, pipeline, step
from drystone.artifacts import ArtifactVersion
from drystone.blobs import blob_key
from drystone.testing import memory_stack

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


def resident() -> float:
    """MiB of memory that this process holds."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return float("nan")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


MAPS = """
from drystone import pipeline, step

@step
def grow(x: int) -> int:
    return x + 1

@pipeline
def growing(xs: list[int]):
    return grow.map(xs)
"""


def maps(counts: list[int]) -> None:
    """Maps of trivial steps in warm workers, executed and cached: what one element costs, and how that grows.

    The start of the workers, some tenths of a second, is part of the first figure.
    """
    Path("mapped_steps.py").write_text(MAPS)
    sys.path.insert(0, os.getcwd())
    growing = importlib.import_module("mapped_steps").growing
    growing(xs=[-1, -2])
    before, costs = resident(), []
    for count in counts:
        xs = list(range(count, 2 * count))
        ran, cached = seconds(lambda xs=xs: growing(xs=xs)), seconds(lambda xs=xs: growing(xs=xs))
        costs.append(ran / count)
        grown = resident() - before
        print(
            f"{count} mapped elements    {ran / count * 1000:8.3f} ms each (bar 3), cached {cached / count * 1000:.3f} "
            f"(bar 0.5), the driver's memory grew by {grown:.0f} MiB (bar 200)"
        )
    print(f"an element of {counts[-1]} costs {costs[-1] / costs[0]:.2f} of what one of {counts[0]} does (bar 1.5)")


@functools.cache
def large_array(megabytes: int) -> np.ndarray:
    """The same array for the step and for plain Python; a global one would be hashed into the step's key."""
    return np.random.default_rng(0).integers(0, 255, size=megabytes << 20, dtype=np.uint8)


def anonymous() -> float:
    """MiB of memory that are this process's own: what is mapped from files, as loaded arrays are, does not count."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return float("nan")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def touch_memory(megabytes: int) -> None:
    """Make a virtual machine hand out its free memory now: the first touch of a page takes longer than writing it."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    np.ones(min(megabytes, free * 3 // 4) << 20, dtype=np.uint8)


def array(megabytes: int, rounds: int) -> None:
    """A large array through a step border, against np.save, BLAKE3 of the same bytes and the same fsync.

    Both write to the same file system and end when their bytes are on the disk. Each round deletes what was written,
    outside the clock, so that all find the same free memory and disk; and they take turns in going first. The first
    rounds do not count.
    """
    touch_memory(16 * megabytes)
    data = large_array(megabytes)
    workspace, file = Workspace.current(), Path("plain.npy")

    @step(cache=False)
    def make(seed: int, megabytes: int) -> np.ndarray:
        data = large_array(megabytes)
        data[0] = seed
        return data

    @pipeline
    def making(seed: int):
        return make(seed, megabytes)

    def plain() -> None:
        np.save(file, data)
        with file.open("rb") as saved:
            os.fsync(saved.fileno())
        blake3(data, max_threads=blake3.AUTO).hexdigest()

    def keys(version: ArtifactVersion) -> list[str]:
        return [blob_key(blob.digest) for blob in version.manifest.blobs]

    def ours(seed: int) -> ArtifactVersion:
        version = making(seed=seed).output
        workspace.store_for(version.manifest.store).sync(keys(version))
        return version

    def timed_plain() -> float:
        os.sync()
        taken = seconds(plain)
        file.unlink()
        return taken

    def timed_ours(seed: int) -> float:
        made = []
        os.sync()
        taken = seconds(lambda: made.append(ours(seed)))
        for key in keys(made[0]):
            workspace.store_for(made[0].manifest.store).delete(key)
        return taken

    pairs = []
    for seed in range(rounds + 2):
        first = timed_plain() if seed % 2 else None
        own = timed_ours(seed)
        pairs.append((own, first or timed_plain()))
    ratios = sorted(own / other for own, other in pairs[2:])
    print(
        f"{megabytes} MiB array written {statistics.median(own for own, _ in pairs[2:]):8.3f} s    plain "
        f"{statistics.median(other for _, other in pairs[2:]):.3f} s   ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {rounds} pairs, bar 1.3)"
    )
    version = ours(rounds + 2)
    before = anonymous()
    start = time.perf_counter()
    value = version.load()
    loaded, own = time.perf_counter() - start, anonymous() - before
    total = int(value.sum(dtype=np.int64))
    read = anonymous() - before
    assert total == int(data.sum(dtype=np.int64))
    print(
        f"{megabytes} MiB array loaded  {loaded * 1000:8.2f} ms (bar 50), mapped: own memory grew by {own:.1f} MiB, "
        f"by {read:.1f} MiB once all of it was read"
    )


def memory(rounds: int) -> None:
    """A stack in memory, and a first trivial pipeline on it in a fresh workspace, against SQLite making a database."""

    @step
    def one() -> int:
        return 1

    @pipeline
    def first():
        return one()

    def run(directory: str) -> None:
        os.chdir(directory)
        Path("pyproject.toml").touch()
        first.with_options(stack=memory_stack())()
        Workspace.current().close()

    def database(directory: str) -> None:
        connection = sqlite3.connect(f"{directory}/plain.sqlite")
        connection.executescript("pragma journal_mode=wal; create table t (a); insert into t values (1)")
        connection.close()

    home, pairs, stacks = os.getcwd(), [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            stacks.append(seconds(memory_stack))
            pairs.append((seconds(lambda: run(directory)), seconds(lambda: database(directory))))
            os.chdir(home)
    a, b = (statistics.median(each) for each in zip(*pairs, strict=True))
    stack = statistics.median(stacks)
    print(f"memory stack            {stack * 1000:8.2f} ms (bar 50), and with a first pipeline {a * 1000:.1f} ms")
    print(f"                                 a SQLite database {b * 1000:.1f} ms   ratio {a / b:.1f}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    os.environ["DRYSTONE_PLUGINS_DISABLE"] = "example"  # it listens to artifacts, which is not a cost of core
    starts(1 if smoke else 40)
    memory(2 if smoke else 20)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path("pyproject.toml").touch()
        steps(10 if smoke else 100)
        maps([3, 10] if smoke else [100, 1_000, 10_000])
        array(8, 1) if smoke else array(1024, 7)


if __name__ == "__main__":
    main()
