"""polars frames and series, as parquet written by polars itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.files import write_file
from drystone_data.row_groups import CELLS, check_columns, groups_of, height, selected, write_groups

ROWS = 1 << 20
"""Rows in a group, whatever chunks the frame came in."""

FRAME = "frame.parquet"


class PolarsFrameMaterializer(Materializer):
    """A polars frame: the same bytes for equal frames, whatever chunks, flags and nulls lie beneath.

    Parquet keeps every type of polars but `Object`; `docs/decisions/` has the measurements.

    Class attributes:
        cells: A frame with more values is written in row groups of about so many.
    """

    name = "polars.frame"
    types = ("polars.dataframe.frame.DataFrame", "polars.DataFrame")
    cells: ClassVar[int] = CELLS

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`, or `rows/00000.parquet` and so on, which others with these first rows share.

        Raises:
            EncodingError: A column of Python objects, or of structures without fields.
        """
        if type(value).__module__.partition(".")[0] != "polars":
            raise EncodingError(f"{type(value).__qualname__} is more than a polars frame.")
        _save(value, writer, self.cells)

    def load(
        self, reader: BlobReader, *, columns: Sequence[str] | None = None, rows: slice | range | None = None
    ) -> Any:
        """The frame, or what `frame.select(columns)[rows]` is of it."""
        return _load(reader, None if columns is None else _names(reader, columns), rows)

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        return {"rows": value.height, "columns": {name: str(kind) for name, kind in value.schema.items()}}


class PolarsSeriesMaterializer(Materializer):
    """A polars series, as a frame of one column.

    Class attributes:
        cells: A series with more values is written in row groups of about so many.
    """

    name = "polars.series"
    types = ("polars.series.series.Series", "polars.Series")
    cells: ClassVar[int] = CELLS

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write what a frame of one column is written as."""
        _save(value.to_frame(), writer, self.cells)

    def load(self, reader: BlobReader, *, rows: slice | range | None = None) -> Any:
        """The series, or what `series[rows]` is of it."""
        return _load(reader, None, rows).to_series()

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Length, name and type."""
        return {"rows": value.len(), "name": value.name, "dtype": str(value.dtype)}


def _save(frame: Any, writer: BlobWriter, cells: int) -> None:
    each = height(frame.width, cells)
    if frame.height <= each:
        _write(writer, FRAME, frame)
        return

    def write(rows: range, path: str) -> None:
        _write(writer, path, frame.slice(rows.start, len(rows)))

    write_groups(writer, "parquet", frame.height, each, write)


def _load(reader: BlobReader, names: list[str] | None, rows: slice | range | None) -> Any:
    import polars

    if names == []:  # a frame of polars without columns has no rows either
        return polars.DataFrame()

    def join(frames: list[Any]) -> Any:
        return polars.concat(frames, rechunk=False)

    return selected(reader, FRAME, rows, lambda path: _read(reader, path, names), join, _taken)


def _write(writer: BlobWriter, path: str, frame: Any) -> None:
    import polars

    options = {"compression": "snappy", "statistics": True, "row_group_size": ROWS}
    try:
        write_file(writer, path, frame.estimated_size(), lambda sink: frame.rechunk().write_parquet(sink, **options))
    except polars.exceptions.PolarsError as exc:
        raise EncodingError(f"polars cannot write this frame as parquet: {exc}.") from exc


def _names(reader: BlobReader, columns: Sequence[str]) -> list[str]:
    """The names that `columns=` asks for, each once, as polars knows no others."""
    import polars

    groups = groups_of(reader)
    with _near(reader, groups.paths[0] if groups else FRAME, []) as file:
        known = [*polars.read_parquet_schema(file)]
    return list(dict.fromkeys(check_columns(columns, known)))


def _read(reader: BlobReader, path: str, names: list[str] | None) -> Any:
    """The columns of one file."""
    import polars

    with _near(reader, path, names) as file:
        frame = polars.read_parquet(file, columns=names)
        return frame if names is None else frame.select(names)


def _taken(frame: Any, rows: range) -> Any:
    return frame[slice(rows.start, rows.stop)] if rows.step == 1 else frame[[*rows]]


@contextmanager
def _near(reader: BlobReader, path: str, names: list[str] | None) -> Iterator[Path]:
    """A local file of parquet with some columns at least.

    polars itself reads a file elsewhere whole. So where some columns are wanted of one, what pyarrow knows to be of
    them is copied to its place in a file that has holes for the rest.
    """
    near = reader.file(path) if names is None else reader.find_file(path)
    if near is not None:
        yield near
        return
    try:
        import pyarrow.parquet  # noqa: F401 - polars does not need it
    except ImportError:
        yield reader.file(path)
        return
    with tempfile.TemporaryDirectory(prefix="drystone-") as folder:
        yield _with_holes(reader, path, names or [], Path(folder, "some.parquet"))


def _with_holes(reader: BlobReader, path: str, names: list[str], target: Path) -> Path:
    import pyarrow.parquet

    with reader.open(path) as source, target.open("wb") as file:
        size = source.seek(0, os.SEEK_END)
        metadata = pyarrow.parquet.read_metadata(source)
        tail = metadata.serialized_size + 8  # its length and four letters stand behind it
        for start, length in [(0, 4), *_chunks(metadata, names), (size - tail, tail)]:
            source.seek(start)
            file.seek(start)
            file.write(source.read(length))
    return target


def _chunks(metadata: Any, names: list[str]) -> Iterator[tuple[int, int]]:
    """Where in a file the chunks of some columns are: start and length."""
    for group in (metadata.row_group(at) for at in range(metadata.num_row_groups)):
        for chunk in (group.column(at) for at in range(group.num_columns)):
            if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in names):
                start = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    start = min(start, chunk.dictionary_page_offset)
                yield start, chunk.total_compressed_size
