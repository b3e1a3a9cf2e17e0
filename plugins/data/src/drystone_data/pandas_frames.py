"""pandas frames and series, as parquet with notes from which every type, index and category comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.files import write_file
from drystone_data.pandas_columns import label_from_json, label_to_json
from drystone_data.pandas_tables import frame_to_table, table_to_frame

OPTIONS = {"compression": "snappy", "dictionary_pagesize_limit": 1 << 16}
"""Dictionaries are given up early: columns of measurements would spend three times as long on them for nothing."""

FRAME, LABELS = "frame.parquet", "labels.parquet"


class PandasFrameMaterializer(Materializer):
    """A pandas frame: parquet that every tool can read, and notes that make it come back exactly.

    What cannot come back exactly is refused rather than changed. `docs/decisions/` has the measurements.
    """

    name = "pandas.frame"
    types = ("pandas.DataFrame", "pandas.core.frame.DataFrame")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`, and `labels.parquet` with the labels of the columns unless they only count them.

        Raises:
            EncodingError: Some value or label would not come back as it was.
        """
        import pandas

        if type(value) is not pandas.DataFrame:
            raise EncodingError(f"{type(value).__qualname__} is more than a pandas frame.")
        _write(frame_to_table(value), FRAME, writer)
        if not _only_counts(value.columns):
            _write(frame_to_table(pandas.DataFrame(index=value.columns)), LABELS, writer)

    def load(self, reader: BlobReader) -> Any:
        """The frame."""
        frame, _ = table_to_frame(_read(reader, FRAME))
        if any(blob.path == LABELS for blob in reader.manifest.blobs):
            frame.columns = table_to_frame(_read(reader, LABELS))[0].index
        return frame

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        types = {str(name): str(dtype) for name, dtype in zip(value.columns, value.dtypes, strict=True)}
        return {"rows": len(value), "columns": types}


class PandasSeriesMaterializer(Materializer):
    """A pandas series, as a frame of one column."""

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
        _write(frame_to_table(value.to_frame(), name=label_to_json(value.name)), FRAME, writer)

    def load(self, reader: BlobReader) -> Any:
        """The series."""
        frame, notes = table_to_frame(_read(reader, FRAME))
        return frame.iloc[:, 0].rename(label_from_json(notes["name"]))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Length, name and type."""
        return {"rows": len(value), "name": str(value.name), "dtype": str(value.dtype)}


def _only_counts(labels: Any) -> bool:
    import pandas

    return type(labels) is pandas.RangeIndex and labels.name is None and labels.equals(pandas.RangeIndex(len(labels)))


def _write(table: Any, path: str, writer: BlobWriter) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        write_file(writer, path, table.nbytes, lambda sink: pyarrow.parquet.write_table(table, sink, **OPTIONS))
    except (pyarrow.ArrowException, NotImplementedError) as exc:
        # pyarrow raises NotImplementedError for types it has no form for
        raise EncodingError(f"pyarrow cannot write this frame as parquet: {exc}.") from exc


def _read(reader: BlobReader, path: str) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(reader.file(path), memory_map=True) as file:
        return file.read()
