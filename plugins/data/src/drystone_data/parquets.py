"""Tables of Arrow in parquet: in one file, or in row groups; read whole, or in part from wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from drystone import BlobReader, BlobWriter
from drystone.errors import EncodingError
from drystone_data.files import write_file
from drystone_data.row_groups import Group, cover, each_of, groups_of, height, places, resolved, write_groups

OPTIONS = {"compression": "snappy", "dictionary_pagesize_limit": 1 << 16}
"""Dictionaries are given up early: columns of measurements would spend three times as long on them for nothing."""

CHECKED = {"write_page_checksum": True}
"""What is read in part cannot be checked against the digest of the whole: the pages of row groups have their own."""


def write_table(writer: BlobWriter, path: str, table: Any, cells: int) -> None:
    """Write a table; a large one in row groups, beside a file at the path that has its schema and no rows.

    What the metadata of the schema say of all rows is in that file alone, so that the groups do not differ by it.

    Args:
        writer: Takes the files.
        path: Where the table goes.
        table: The table.
        cells: About how many values a row group has.
    """
    each = height(table.num_columns, cells)
    if table.num_rows <= each:
        write_whole(writer, path, table)
        return
    write_whole(writer, path, table.slice(0, 0))
    bare = table.replace_schema_metadata()
    write_groups(
        writer,
        "parquet",
        table.num_rows,
        each,
        lambda rows, inside: write_whole(writer, inside, bare.slice(rows.start, len(rows)), **CHECKED),
    )


def write_whole(writer: BlobWriter, path: str, table: Any, **options: Any) -> None:
    """Write a table as one file.

    Raises:
        EncodingError: Parquet has no form for it.
    """
    import pyarrow
    import pyarrow.parquet

    def write(sink: Any) -> None:
        pyarrow.parquet.write_table(table, sink, **OPTIONS, **options)

    try:
        write_file(writer, path, table.nbytes, write)
    except (pyarrow.ArrowException, NotImplementedError) as exc:
        # pyarrow raises NotImplementedError for types it has no form for
        raise EncodingError(f"pyarrow cannot write this frame as parquet: {exc}.") from exc


class StoredTable:
    """A table that is stored, of which as much is read as somebody asks for.

    Attributes:
        schema: Its schema, with metadata.
        total: How many rows it has.
    """

    def __init__(self, reader: BlobReader, file: Any) -> None:
        self._reader, self._file = reader, file
        self._groups = groups_of(reader)
        self.schema = file.schema_arrow
        self.total: int = self._groups.total if self._groups else file.metadata.num_rows

    def read(self, names: Sequence[str] | None = None, rows: range | None = None) -> Any:
        """The table, or those of its columns and rows.

        Args:
            names: Columns in the order wanted, some perhaps twice.
            rows: Positions.
        """
        import pyarrow

        wanted = None if names is None else list(dict.fromkeys(names))
        run = None if rows is None else cover(rows)
        table = self._run(wanted, run).select(self.schema.names if names is None else list(names))
        return table if rows is None or rows.step == 1 else table.take(pyarrow.array(places(rows), pyarrow.int64()))

    def _run(self, names: list[str] | None, rows: range | None) -> Any:
        import pyarrow

        if self._groups is None:
            return _read(self._file, names, rows)
        groups = self._groups.chosen(rows)
        if not groups:
            return self._file.read(columns=names)

        def read(group: Group) -> Any:
            with opened(self._reader, group.path, partly=names is not None or group.rows is not None) as file:
                return _read(file, names, group.rows)

        return pyarrow.concat_tables(each_of(groups, read))


@contextmanager
def stored_table(reader: BlobReader, path: str, *, partly: bool) -> Iterator[StoredTable]:
    """What `write_table` wrote at a path.

    Args:
        reader: Reads its files.
        path: Where it is.
        partly: Whether not all of it is wanted.
    """
    with opened(reader, path, partly=partly) as file:
        yield StoredTable(reader, file)


@contextmanager
def opened(reader: BlobReader, path: str, *, partly: bool) -> Iterator[Any]:
    """A file of parquet: mapped if it is here or wanted whole, else read range by range from where it is."""
    import pyarrow.parquet

    near = reader.find_file(path) if partly else reader.file(path)
    with ExitStack() as stack:
        source = stack.enter_context(reader.open(path)) if near is None else str(near)
        options = {"memory_map": near is not None, "pre_buffer": near is None}
        yield stack.enter_context(pyarrow.parquet.ParquetFile(source, **options, page_checksum_verification=partly))


def _read(file: Any, names: list[str] | None, rows: range | None) -> Any:
    """Columns and rows of one file, of which only those parts are read that hold them."""
    if rows is None:
        return file.read(columns=names)
    sizes = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    wanted = [
        at
        for at, (start, size) in enumerate(zip(starts, sizes, strict=True))
        if start < rows.stop and rows.start < start + size
    ]
    table = file.read_row_groups(wanted, columns=names)
    return table.slice(rows.start - starts[wanted[0]] if wanted else 0, len(rows))


def positions(rows: Any, total: int) -> range | None:
    """The positions that `rows=` asks for; None for all."""
    return None if rows is None else resolved(rows, total)
