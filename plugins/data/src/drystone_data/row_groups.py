"""Row groups: a large frame is written as several files of equally many rows each.

How many that are depends on the number of columns alone. So a frame that rows were appended to has all full groups in
common with the frame that it was, byte for byte, and a store that holds them gets only what is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from drystone import BlobReader, BlobWriter
from drystone.errors import MaterializerError, NotFoundError, suggestion

CELLS = 1 << 23
"""About how many values are in a group: 64 MiB of numbers."""

TABLE = "rows.json"
"""The file that says how many rows there are, and how many of them in each group."""

THREADS = 8
"""How many groups are read at once, at most: from a store elsewhere each of them is some round trips."""

WRITERS = 4
"""How many groups are written at once, each of which may be in memory a second time meanwhile."""

T = TypeVar("T")


class Group(NamedTuple):
    """What is wanted of one file: rows by their places in it, or all of them."""

    path: str
    rows: range | None


class Groups(NamedTuple):
    """The files of a frame in row groups."""

    paths: Sequence[str]
    total: int
    each: int

    def chosen(self, rows: range | None) -> list[Group]:
        """The groups that hold some rows which follow each other."""
        if rows is None:
            return [Group(path, None) for path in self.paths]
        first, last = rows.start // self.each, -(-rows.stop // self.each)
        return [Group(self.paths[at], self._inside(rows, at * self.each)) for at in range(first, last)]

    def _inside(self, rows: range, start: int) -> range | None:
        size = min(self.each, self.total - start)
        inside = range(max(0, rows.start - start), min(size, rows.stop - start))
        return None if len(inside) == size else inside


def height(columns: int, cells: int) -> int:
    """How many rows a group has, a power of two."""
    return 1 << max(0, (cells // max(1, columns)).bit_length() - 1)


def write_groups(writer: BlobWriter, suffix: str, total: int, each: int, write: Callable[[range, str], None]) -> None:
    """Write a frame in row groups.

    Args:
        writer: Takes the files.
        suffix: How their names end.
        total: How many rows there are.
        each: How many rows a group has.
        write: Called with the rows of each group and a path for them.
    """

    def write_group(number: int) -> None:
        start = number * each
        write(range(start, min(total, start + each)), f"rows/{number:05}.{suffix}")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write_group, range(-(-total // each))))
    writer.write(TABLE, json.dumps({"rows": total, "each": each}).encode())


def groups_of(reader: BlobReader) -> Groups | None:
    """The row groups of what is read; None if it is in one file."""
    paths = [blob.path for blob in reader.manifest.blobs]
    if TABLE not in paths:
        return None
    table = json.loads(reader.read(TABLE))
    files = sorted((path for path in paths if path.startswith("rows/")), key=lambda path: (len(path), path))
    return Groups(files, table["rows"], table["each"])


def each_of(groups: Sequence[Group], read: Callable[[Group], T]) -> list[T]:
    """Read some groups at once; returns them in their order."""
    with ThreadPoolExecutor(min(THREADS, len(groups)) or 1) as pool:
        return list(pool.map(read, groups))


def resolved(rows: Any, total: int) -> range:
    """The positions that `rows=` asks for.

    Raises:
        NotFoundError: A range leads beyond the rows that there are; of a slice only what is there is wanted.
        MaterializerError: It is neither a slice nor a range.
    """
    if isinstance(rows, slice):
        return range(total)[rows]
    if not isinstance(rows, range):
        raise MaterializerError(f"rows= takes a slice or a range, as in rows=slice(0, 1000); {rows!r} is neither.")
    if rows and not (min(rows) >= 0 and max(rows) < total):
        raise NotFoundError(
            f"There are {total} rows, and {rows!r} leads beyond them. Of a slice, as slice({rows.start}, {rows.stop}), "
            "only what is there is taken."
        )
    return rows


def cover(rows: range) -> range:
    """The shortest run of rows, one after the other, that has them all."""
    return range(min(rows), max(rows) + 1) if rows else range(0)


def places(rows: range) -> range:
    """Where rows are in their cover."""
    start = cover(rows).start
    return range(rows.start - start, rows.stop - start, rows.step)


def selected(
    reader: BlobReader,
    path: str,
    rows: slice | range | None,
    read: Callable[[str], T],
    join: Callable[[list[T]], T],
    take: Callable[[T, range], T],
) -> T:
    """A frame in one file or in row groups, or some rows of it.

    Args:
        reader: Reads its files.
        path: Where it is, if it is in one file.
        rows: What is wanted; None for everything.
        read: Reads the frame in one file.
        join: Puts frames together.
        take: Takes the rows at some positions.
    """
    groups = groups_of(reader)
    if groups is None:
        whole: Any = read(path)
        return whole if rows is None else take(whole, resolved(rows, len(whole)))

    def read_group(group: Group) -> T:
        frame = read(group.path)
        return frame if group.rows is None else take(frame, group.rows)

    if rows is None:
        return join(each_of(groups.chosen(None), read_group))
    wanted = resolved(rows, groups.total)
    chosen = groups.chosen(cover(wanted)) or [Group(groups.paths[0], range(0))]
    return take(join(each_of(chosen, read_group)), places(wanted))


def check_columns(columns: Any, known: Sequence[Any]) -> list[Any]:
    """The labels that `columns=` asks for.

    Raises:
        NotFoundError: Some are not there; names them all, and those that are.
        MaterializerError: It is a text, which would be taken for a list of its letters, or no list at all.
    """
    if isinstance(columns, str | bytes) or not hasattr(columns, "__iter__"):
        raise MaterializerError(f"columns= takes a list of labels, as columns=[{columns!r}].")
    wanted = list(columns)
    missing = [label for label in wanted if label not in known]
    if missing:
        names = [label for label in known if isinstance(label, str)]
        hints = [f"{label!r}.{suggestion(str(label), names, 'Its columns')}" for label in missing]
        raise NotFoundError(f"The frame has no column {' It has no column '.join(hints)}")
    return wanted
