"""What it costs that a step's output is kept, as ratios against the same output to a file in the same run.

Run by hand: `python tests/benchmarks/printing.py`; with `--smoke`, small sizes that only show that it works.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drystone import pipeline, step

LINE = "the quick brown fox jumps over the lazy dog, and it does so again and again" + "." * 4

CHILD = f"import sys; [sys.stdout.write({LINE!r} + '\\n') for _ in range(int(sys.argv[1]))]"


def prints(lines: int) -> None:
    """As most steps do it."""
    for _ in range(lines):
        print(LINE)


def writes(lines: int) -> None:
    """As a C extension does it that does not buffer."""
    data = f"{LINE}\n".encode()
    for _ in range(lines):
        os.write(1, data)


def child(lines: int) -> None:
    """By a child process."""
    subprocess.run([sys.executable, "-c", CHILD, str(lines)], check=True)


def repeated(way: Callable[[int], None], lines: int, steps: int) -> Callable[[], object]:
    """A pipeline of some steps that print the same."""

    @step(cache=False)
    def printing(before: int) -> int:
        way(lines)
        return before

    @pipeline
    def printed():
        last = 0
        for _ in range(steps):
            last = printing(last)
        return last

    return printed


@contextmanager
def into(path: Path) -> Iterator[None]:
    """Let standard output lead to a new file."""
    sys.stdout.flush()
    kept, former = os.dup(1), sys.stdout
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        sys.stdout = file
        try:
            yield
        finally:
            file.flush()
            sys.stdout = former
            os.dup2(kept, 1)
            os.close(kept)


def seconds(call: Callable[[], object]) -> float:
    """Wall seconds of one call whose output goes to a file."""
    path = Path("out")
    with into(path):
        start = time.perf_counter()
        call()
        sys.stdout.flush()
        taken = time.perf_counter() - start
    path.unlink()
    return taken


def measure(way: Callable[[int], None], megabytes: int, steps: int, rounds: int) -> None:
    """Print the ratio, the median of pairs, since a shared machine drifts."""
    lines = megabytes * 1_000_000 // (len(LINE) + 1) // steps

    def plain() -> None:
        for _ in range(steps):
            way(lines)

    ours = repeated(way, lines, steps)
    pairs = [(seconds(ours), seconds(plain)) for _ in range(rounds + 1)][1:]
    ratios = sorted(own / other for own, other in pairs)
    own, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"{megabytes} MB, {way.__name__:<6} in {steps:>2} steps  {own:7.3f} s   to a file {other:.3f} s   ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, bar 2)"
    )


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path("pyproject.toml").touch()
        for way in (prints, writes, child):
            for steps in (1, 10):
                measure(way, 2 if smoke else 100, steps, 1 if smoke else 7)


if __name__ == "__main__":
    main()
