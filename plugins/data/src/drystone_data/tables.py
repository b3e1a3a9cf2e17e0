"""pyarrow tables, as Arrow IPC: written without copying, mapped when they are read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.arrays import SMALL


class TableMaterializer(Materializer):
    """A pyarrow table with every type Arrow knows; what is read is mapped from the file.

    Arrow leaves open what lies beneath nulls and beyond the ends of slices. It is cleared before writing, so that
    equal tables give equal bytes.
    """

    name = "pyarrow.table"
    types = ("pyarrow.lib.Table",)

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `table.arrow`."""
        import pyarrow

        try:
            table = canonical_table(value)
        except (pyarrow.ArrowException, NotImplementedError) as exc:
            # pyarrow raises NotImplementedError for types it has no form for
            raise EncodingError(f"pyarrow cannot lay out this table: {exc}.") from exc
        if table.get_total_buffer_size() <= SMALL:  # `nbytes` does not know the view types before pyarrow 25
            buffer = io.BytesIO()
            _write(table, buffer)
            writer.write("table.arrow", buffer.getvalue())
            return
        with writer.file("table.arrow") as path:
            _write(table, str(path))

    def load(self, reader: BlobReader) -> Any:
        """The table, mapped."""
        import pyarrow

        source = pyarrow.memory_map(str(reader.file("table.arrow")))
        return pyarrow.ipc.open_file(source).read_all()

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        return {"rows": value.num_rows, "columns": {field.name: str(field.type) for field in value.schema}}


def _write(table: Any, sink: Any) -> None:
    import pyarrow

    with pyarrow.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def canonical_table(table: Any) -> Any:
    """The table in one chunk, with nothing in its memory but its values."""
    import pyarrow

    whole = table.unify_dictionaries().combine_chunks()
    columns = [
        pyarrow.chunked_array([canonical(chunk) for chunk in column.chunks], type=column.type)
        for column in whole.columns
    ]
    return pyarrow.Table.from_arrays(columns, schema=table.schema)


def canonical(array: Any) -> Any:
    """An equal array whose memory holds zeros beneath nulls and nothing beyond its ends."""
    import pyarrow
    from pyarrow import types

    kind = array.type
    if isinstance(array, pyarrow.ExtensionArray):
        return pyarrow.ExtensionArray.from_storage(kind, canonical(array.storage))
    if types.is_dictionary(kind):
        return pyarrow.DictionaryArray.from_arrays(
            canonical(array.indices), canonical(array.dictionary), ordered=kind.ordered
        )
    if types.is_struct(kind):
        return _struct(array)
    if types.is_list(kind) or types.is_large_list(kind):
        return _list(array)
    if types.is_null(kind):
        return pyarrow.nulls(len(array))
    if kind.num_fields or "view" in str(kind):
        return pyarrow.array(array.to_pylist(), type=kind)  # maps, unions, views, lists of fixed size: rare
    return array if _is_exact(array) else array.take(_positions(len(array)))


def _positions(length: int) -> Any:
    """0, 1, 2 … as Arrow counts them: taking by them makes a copy in fresh memory, which filtering by all would not."""
    import pyarrow
    import pyarrow.compute

    return pyarrow.compute.indices_nonzero(pyarrow.repeat(True, length))


def _is_exact(array: Any) -> bool:
    """Whether numbers without nulls fill their buffer from start to end."""
    from pyarrow import types

    kind = array.type
    if array.null_count or array.offset or not types.is_primitive(kind) or types.is_boolean(kind):
        return False
    data = array.buffers()[1]
    return data is not None and data.size == len(array) * kind.bit_width // 8


def _struct(array: Any) -> Any:
    import pyarrow

    kind = array.type
    fields = [kind.field(index) for index in range(kind.num_fields)]
    if not fields:
        return pyarrow.array(array.to_pylist(), type=kind)
    children = [canonical(child) for child in array.flatten()]
    return pyarrow.StructArray.from_arrays(children, fields=fields, mask=_mask(array))


def _list(array: Any) -> Any:
    import pyarrow
    import pyarrow.compute

    kind = array.type
    width = pyarrow.int64() if pyarrow.types.is_large_list(kind) else pyarrow.int32()
    lengths = pyarrow.compute.list_value_length(array).fill_null(0).cast(pyarrow.int64())
    zero = pyarrow.array([0], pyarrow.int64())
    offsets = pyarrow.concat_arrays([zero, pyarrow.compute.cumulative_sum(lengths)]).cast(width)
    maker = pyarrow.LargeListArray if pyarrow.types.is_large_list(kind) else pyarrow.ListArray
    return maker.from_arrays(offsets, canonical(array.flatten()), type=kind, mask=_mask(array))


def _mask(array: Any) -> Any:
    return array.is_null() if array.null_count else None
