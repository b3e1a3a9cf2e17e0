"""pyarrow tables, as Arrow IPC: written without copying, mapped when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError
from drystone_data.files import write_file
from drystone_data.row_groups import CELLS, check_columns, groups_of, height, selected, write_groups

TABLE = "table.arrow"


class TableMaterializer(Materializer):
    """A pyarrow table with every type Arrow knows; what is read is mapped from the file.

    Arrow leaves open what lies beneath nulls and beyond the ends of slices. It is cleared before writing, so that
    equal tables give equal bytes.

    Class attributes:
        cells: A table with more values is written in row groups of about so many. They are large enough to be mapped
            without being hashed before, if they are numbers.
    """

    name = "pyarrow.table"
    types = ("pyarrow.lib.Table",)
    cells: ClassVar[int] = 2 * CELLS

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `table.arrow`; of a large table only its schema, and its rows to `rows/00000.arrow` and so on."""
        each = height(value.num_columns, self.cells)
        if value.num_rows <= each:
            _write(writer, TABLE, value)
            return
        _write(writer, TABLE, value.schema.empty_table())
        whole = value.unify_dictionaries().replace_schema_metadata()
        write_groups(
            writer,
            "arrow",
            value.num_rows,
            each,
            lambda rows, path: _write(writer, path, whole.slice(rows.start, len(rows))),
        )

    def load(
        self, reader: BlobReader, *, columns: Sequence[str] | None = None, rows: slice | range | None = None
    ) -> Any:
        """The table, or what `table.select(columns)` and some rows are of it; mapped, unless it is elsewhere."""
        import pyarrow

        schema = _opened(reader, TABLE, None, partly=groups_of(reader) is None and columns is not None).schema
        names = schema.names if columns is None else check_columns(columns, schema.names)

        def read(path: str) -> Any:
            wanted = None if columns is None else sorted({schema.names.index(name) for name in names})
            table = _opened(reader, path, wanted, partly=columns is not None).read_all()
            return table if columns is None else table.select(names)

        table = selected(reader, TABLE, rows, read, pyarrow.concat_tables, _taken)
        return table.replace_schema_metadata(schema.metadata)

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Numbers of rows and columns, and the types of the columns."""
        return {"rows": value.num_rows, "columns": {field.name: str(field.type) for field in value.schema}}


def _write(writer: BlobWriter, path: str, value: Any) -> None:
    import pyarrow

    try:
        table = canonical_table(value)
    except (pyarrow.ArrowException, NotImplementedError) as exc:
        # pyarrow raises NotImplementedError for types it has no form for
        raise EncodingError(f"pyarrow cannot lay out this table: {exc}.") from exc

    def write(sink: Any) -> None:
        with pyarrow.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)

    write_file(writer, path, table.get_total_buffer_size(), write)


def _opened(reader: BlobReader, path: str, fields: list[int] | None, *, partly: bool) -> Any:
    """A file of Arrow: mapped if it is here or wanted whole, else read range by range from where it is."""
    import pyarrow

    near = reader.find_file(path) if partly else reader.file(path)
    source = pyarrow.memory_map(str(near)) if near is not None else reader.open(path)
    return pyarrow.ipc.open_file(source, options=pyarrow.ipc.IpcReadOptions(included_fields=fields))


def _taken(table: Any, rows: range) -> Any:
    import pyarrow

    return table.slice(rows.start, len(rows)) if rows.step == 1 else table.take(pyarrow.array(rows, pyarrow.int64()))


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
