"""pandas frames and series, as parquet with notes from which every type, index and category comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.pandas_columns import label_from_json, label_to_json
from drystone_data.pandas_tables import Notes, frame_to_table, table_to_frame
from drystone_data.parquets import opened, positions, stored_table, write_table, write_whole
from drystone_data.row_groups import CELLS, check_columns

FRAME, LABELS = "frame.parquet", "labels.parquet"


class PandasFrameMaterializer(Materializer):
    """A pandas frame: parquet that every tool can read, and notes that make it come back exactly.

    What cannot come back exactly is refused rather than changed. `docs/decisions/` has the measurements.

    Class attributes:
        cells: A frame with more values is written in row groups of about so many.
    """

    cells: ClassVar[int] = CELLS

    name = "pandas.frame"
    types = ("pandas.DataFrame", "pandas.core.frame.DataFrame")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`, and `labels.parquet` with the labels of the columns unless they only count them.

        The rows of a large frame are in `rows/00000.parquet` and so on, which others with these first rows share.

        Raises:
            EncodingError: Some value or label would not come back as it was.
        """
        import pandas

        if type(value) is not pandas.DataFrame:
            raise EncodingError(f"{type(value).__qualname__} is more than a pandas frame.")
        write_table(writer, FRAME, frame_to_table(value), self.cells)
        if not _only_counts(value.columns):
            write_whole(writer, LABELS, frame_to_table(pandas.DataFrame(index=value.columns)))

    def load(
        self, reader: BlobReader, *, columns: Sequence[Any] | None = None, rows: slice | range | None = None
    ) -> Any:
        """The frame, or what `frame[columns].iloc[rows]` is of it."""
        partly = columns is not None or rows is not None
        with stored_table(reader, FRAME, partly=partly) as stored:
            notes = Notes.of(stored.schema)
            labels = _labels(reader, notes.width)
            chosen = [*range(notes.width)] if columns is None else _chosen(columns, labels)
            wanted = positions(rows, notes.height(stored.total))
            table = stored.read(notes.names(stored.schema, chosen) if partly else None, wanted)
            frame = table_to_frame(table, notes.only(chosen, wanted))
        frame.columns = labels.take(chosen) if columns is not None else labels
        return frame

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        types = {str(name): str(dtype) for name, dtype in zip(value.columns, value.dtypes, strict=True)}
        return {"rows": len(value), "columns": types}


class PandasSeriesMaterializer(Materializer):
    """A pandas series, as a frame of one column.

    Class attributes:
        cells: A series with more values is written in row groups of about so many.
    """

    cells: ClassVar[int] = CELLS

    name = "pandas.series"
    types = ("pandas.Series", "pandas.core.series.Series")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`.

        Raises:
            EncodingError: Some value, or the name, would not come back as it was.
        """
        import pandas

        if type(value) is not pandas.Series:
            raise EncodingError(f"{type(value).__qualname__} is more than a pandas series.")
        table = frame_to_table(value.to_frame(), name=label_to_json(value.name))
        write_table(writer, FRAME, table, self.cells)

    def load(self, reader: BlobReader, *, rows: slice | range | None = None) -> Any:
        """The series, or what `series.iloc[rows]` is of it."""
        with stored_table(reader, FRAME, partly=rows is not None) as stored:
            notes = Notes.of(stored.schema)
            wanted = positions(rows, notes.height(stored.total))
            frame = table_to_frame(stored.read(rows=wanted), notes.only([0], wanted))
        return frame.iloc[:, 0].rename(label_from_json(notes.noted["name"]))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Length, name and type."""
        return {"rows": len(value), "name": str(value.name), "dtype": str(value.dtype)}


def _only_counts(labels: Any) -> bool:
    import pandas

    return type(labels) is pandas.RangeIndex and labels.name is None and labels.equals(pandas.RangeIndex(len(labels)))


def _labels(reader: BlobReader, count: int) -> Any:
    """The labels of the columns."""
    import pandas

    if all(blob.path != LABELS for blob in reader.manifest.blobs):
        return pandas.RangeIndex(count)
    with opened(reader, LABELS, partly=False) as file:
        return table_to_frame(file.read(), Notes.of(file.schema_arrow)).index


def _chosen(columns: Sequence[Any], labels: Any) -> list[int]:
    """Where the columns are that pandas finds by these labels, which may be several for one of them."""
    import pandas

    counted = pandas.DataFrame([range(len(labels))], columns=labels)
    return [int(at) for at in counted[check_columns(columns, labels)].iloc[0]]
