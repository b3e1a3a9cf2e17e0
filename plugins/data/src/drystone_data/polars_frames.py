"""polars frames and series, as parquet written by polars itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.files import write_file

ROWS = 1 << 20
"""Rows in a group, whatever chunks the frame came in."""

FRAME = "frame.parquet"


class PolarsFrameMaterializer(Materializer):
    """A polars frame: the same bytes for equal frames, whatever chunks, flags and nulls lie beneath.

    Parquet keeps every type of polars but `Object`; `docs/decisions/` has the measurements.
    """

    name = "polars.frame"
    types = ("polars.dataframe.frame.DataFrame", "polars.DataFrame")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`.

        Raises:
            EncodingError: A column of Python objects, or of structures without fields.
        """
        import polars

        if type(value).__module__.partition(".")[0] != "polars":
            raise EncodingError(f"{type(value).__qualname__} is more than a polars frame.")
        options = {"compression": "snappy", "statistics": True, "row_group_size": ROWS}
        try:
            write_file(
                writer, FRAME, value.estimated_size(), lambda sink: value.rechunk().write_parquet(sink, **options)
            )
        except polars.exceptions.PolarsError as exc:
            raise EncodingError(f"polars cannot write this frame as parquet: {exc}.") from exc

    def load(self, reader: BlobReader) -> Any:
        """The frame."""
        import polars

        return polars.read_parquet(reader.file(FRAME))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        return {"rows": value.height, "columns": {name: str(kind) for name, kind in value.schema.items()}}


class PolarsSeriesMaterializer(PolarsFrameMaterializer):
    """A polars series, as a frame of one column."""

    name = "polars.series"
    types = ("polars.series.series.Series", "polars.Series")

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `frame.parquet`."""
        super().save(value.to_frame(), writer, artifact)

    def load(self, reader: BlobReader) -> Any:
        """The series."""
        return super().load(reader).to_series()

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Length, name and type."""
        return {"rows": value.len(), "name": value.name, "dtype": str(value.dtype)}
