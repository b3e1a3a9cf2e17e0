"""The benchmarks work; what they measure is for people to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.seaweed import weed


def test_the_overhead_benchmark_prints_every_figure_with_its_bar() -> None:
    command = [sys.executable, str(Path(__file__).with_name("overhead.py")), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for figure in (
        "authoring import",
        "drystone --help",
        "steps executed",
        "steps cached",
        "mapped elements",
        "an element of",
        "memory stack",
        "array written",
        "array loaded",
    ):
        assert figure in done.stdout


def test_the_benchmark_of_printing_prints_every_figure_with_its_bar() -> None:
    command = [sys.executable, str(Path(__file__).with_name("printing.py")), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for way in ("prints", "writes", "child"):
        assert f"2 MB, {way:<6} in  1 steps" in done.stdout
    assert done.stdout.count("bar 2)") == 6


def test_the_benchmark_of_transfers_moves_an_array_both_ways() -> None:
    weed()  # without which it is skipped
    command = [sys.executable, str(Path(__file__).with_name("transfers.py")), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for way in ("up", "down"):
        assert f"{way:>5}  drystone " in done.stdout


def test_the_benchmark_of_opening_prints_every_figure_with_its_bar() -> None:
    command = [sys.executable, str(Path(__file__).with_name("opening.py")), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for figure in ("from segments", "from a checkpoint", "with nothing new", "catching up", "a small commit"):
        assert figure in done.stdout
    assert done.stdout.count("(bar") == 3


def test_the_benchmark_of_large_frames_prints_what_is_transferred() -> None:
    weed()  # without which it is skipped
    command = [sys.executable, str(Path(__file__).with_name("large_frames.py")), "--smoke"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    for figure in ("saved", "one column (bar 3 %)", "loaded, fetched", "saved with 1000 more rows"):
        assert figure in done.stdout


def test_the_benchmark_of_containers_prints_both_figures_with_their_bars(base_image: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("containers.py")), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for figure in ("one more step", "docker run", "beyond it", "first container"):
        assert figure in done.stdout
    assert done.stdout.count("(bar") == 2
