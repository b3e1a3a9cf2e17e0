"""polars frames and series, as parquet written by polars itself."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.arrays import SMALL

ROWS = 1 << 20
"""Rows in a group, whatever chunks the frame came in."""


class PolarsFrameMaterializer(Materializer):
    """A polars frame. Parquet keeps every type of polars but `Object`; `docs/decisions/` has the measurements."""

    name = "polars.frame"
    types = ("polars.dataframe.frame.DataFrame", "polars.DataFrame")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`.

        Raises:
            EncodingError: A column of Python objects, or of structures without fields.
        """
        if type(value).__module__.partition(".")[0] != "polars":
            raise EncodingError(f"{type(value).__qualname__} is more than a polars frame.")
        write_frame(value, writer)

    def load(self, reader: BlobReader) -> Any:
        """The frame."""
        import polars

        return polars.read_parquet(reader.file("frame.parquet"))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        return {"rows": value.height, "columns": {name: str(kind) for name, kind in value.schema.items()}}


class PolarsSeriesMaterializer(Materializer):
    """A polars series, as a frame of one column."""

    name = "polars.series"
    types = ("polars.series.series.Series", "polars.Series")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`."""
        write_frame(value.to_frame(), writer)

    def load(self, reader: BlobReader) -> Any:
        """The series."""
        import polars

        return polars.read_parquet(reader.file("frame.parquet")).to_series()

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Length, name and type."""
        return {"rows": value.len(), "name": value.name, "dtype": str(value.dtype)}


def write_frame(frame: Any, writer: BlobWriter) -> None:
    """Write `frame.parquet`: the same bytes for equal frames, whatever chunks, flags and nulls lie beneath."""
    import polars

    options = {"compression": "snappy", "statistics": True, "row_group_size": ROWS}
    try:
        if frame.estimated_size() <= SMALL:
            buffer = io.BytesIO()
            frame.rechunk().write_parquet(buffer, **options)
            writer.write("frame.parquet", buffer.getvalue())
            return
        with writer.file("frame.parquet") as path:
            frame.rechunk().write_parquet(path, **options)
    except polars.exceptions.PolarsError as exc:
        raise EncodingError(f"polars cannot write this frame as parquet: {exc}.") from exc
