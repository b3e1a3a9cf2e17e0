"""Logs as files: however long they grow, they take up little of the disk, and nothing is read twice or wrongly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drystone import logs

MISSING = re.compile(rb"\n\xe2\x80\xa6 (\d+) bytes left out \xe2\x80\xa6\n")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of which 32 KiB are kept, so that many of them can be tried."""
    for name, size in (("LIMIT", 32 << 10), ("HALF", 16 << 10), ("SLACK", 8 << 10), ("BLOCK", 4096), ("PIECE", 5000)):
        monkeypatch.setattr(logs, name, size)


def written(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def numbered(start: int, count: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(start, start + count))


def test_of_a_long_log_the_two_ends_are_kept_and_the_disk_has_no_more(tmp_path: Path) -> None:
    log, whole = tmp_path / "log", os.urandom(64 << 20)
    for start in range(0, len(whole), 8 << 20):
        written(log, whole[start : start + (8 << 20)])
        logs.bound_log_file(log)
    assert log.stat().st_size == 64 << 20
    assert on_disk(log) <= logs.LIMIT + logs.SLACK + logs.BLOCK
    kept = logs.read_log_file(log)
    missing = f"\n… {len(whole) - logs.LIMIT} bytes left out …\n".encode()
    assert kept == whole[: logs.HALF] + missing + whole[-logs.HALF :]


def test_a_short_log_is_kept_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written(log, numbered(0, 1 << 20))
    logs.bound_log_file(log)
    assert logs.read_log_file(log) == numbered(0, 1 << 20)


def test_there_may_be_no_log(tmp_path: Path) -> None:
    logs.bound_log_file(tmp_path / "absent")
    assert logs.read_log_file(tmp_path / "absent") == b""
    reader = logs.LogReader(tmp_path / "absent")
    assert (reader.read(), reader.was_found) == (b"", False)


def test_every_attempt_at_every_step_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = ["a", "a/b", "a%2Fb", "../a", "a[0]", "a-1", "a.log", "größe", ".", ".."]
    tries = [(f"{run}-1", step, attempt) for run in names for step in names for attempt in (1, 2, 11)]
    paths = {logs.live_path(tmp_path, *each) for each in tries}
    assert len(paths) == len(tries)
    assert {logs.step_of(path) for path in paths} == set(names)
    assert {path.resolve().parent.parent for path in paths} == {tmp_path / "live"}


Actions = list[tuple[str, int]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["write", "write", "bound", "read"]), st.integers(1, 4000)), max_size=30))
def test_a_reader_gets_every_byte_or_is_told_how_many_it_missed(
    small: None, tmp_path_factory: pytest.TempPathFactory, actions: Actions
) -> None:
    log = tmp_path_factory.mktemp("logs") / "log"
    reader, total, got = logs.LogReader(log), 0, b""
    for action, amount in actions:
        if action == "write":
            written(log, numbered(total, amount))
            total += amount
        elif action == "bound":
            logs.bound_log_file(log)
        else:
            got += reader.read()
    if log.exists():
        got += reader.read()
        log.unlink()
    got += b"".join(rest(reader))
    reader.close()
    position, whole = 0, numbered(0, total)
    for index, part in enumerate(MISSING.split(got)):
        if index % 2:
            position += int(part)
        else:
            assert part == whole[position : position + len(part)]
            position += len(part)
    assert position == len(whole)


def rest(reader: logs.LogReader) -> Iterator[bytes]:
    while piece := reader.read():
        yield piece


@pytest.mark.parametrize("append", [0, os.O_APPEND])
def test_where_a_filesystem_knows_no_holes_the_middle_is_cut_out(small: None, tmp_path: Path, append: int) -> None:
    log = tmp_path / "log"
    whole = numbered(0, 100_000)
    written(log, whole)
    handle = os.open(log, os.O_RDWR | append)
    logs._cut(handle, len(whole))
    os.close(handle)
    left = log.read_bytes()
    assert (
        left == whole[: logs.HALF] + f"\n… {len(whole) - logs.LIMIT} bytes left out …\n".encode() + whole[-logs.HALF :]
    )
    assert len(left) < logs.LIMIT + 100


def test_a_reader_of_a_log_whose_middle_was_cut_out_goes_on_at_the_end(small: None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    written(log, numbered(0, 100_000))
    reader = logs.LogReader(log)
    assert b"".join(rest(reader)) == numbered(0, 100_000)
    with log.open("r+b") as file:
        logs._cut(file.fileno(), 800_000)
    assert reader.read() == b""
    written(log, b"more\n")
    assert reader.read() == b"more\n"
    reader.close()
