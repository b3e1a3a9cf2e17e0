"""numpy arrays, as `.npy`: hashed while they are written, mapped copy-on-write when they are read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError, MaterializerError
from drystone_data.files import SMALL

if TYPE_CHECKING:
    import numpy

COPIED = 32 << 20
"""How many bytes of an array that is not contiguous are laid out at a time."""


class ArrayMaterializer(Materializer):
    """An array without Python objects in it.

    Every array is written in C order, so that equal arrays give equal bytes however they were made; what is read is
    mapped copy-on-write: it costs no memory until it is touched, and changing it changes nothing that is stored.
    """

    name = "numpy.array"
    types = ("numpy.ndarray",)

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `array.npy`.

        Raises:
            EncodingError: A subclass with a state of its own, or a type of elements that `.npy` does not know.
            MaterializerError: The array holds Python objects.
        """
        _check(value, artifact)
        head = header(value)
        if value.nbytes <= SMALL:
            writer.write("array.npy", b"".join((head, *pieces(value))))
            return
        with writer.open("array.npy") as file:
            file.write(head)
            for piece in pieces(value):
                file.write(piece)

    def load(self, reader: BlobReader) -> Any:
        """The array, mapped."""
        import numpy

        mapped = numpy.load(reader.file("array.npy"), mmap_mode="c", allow_pickle=False)
        return mapped.view(numpy.ndarray)

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Shape and type of elements."""
        return {"shape": list(value.shape), "dtype": str(value.dtype)}


def _check(array: Any, artifact: Artifact) -> None:
    import numpy

    if type(array) not in (numpy.ndarray, numpy.memmap):
        raise EncodingError(f"{type(array).__qualname__} is more than an array, and .npy would keep only the array.")
    if array.dtype.hasobject:
        if artifact.allow_pickle:
            raise EncodingError("The array holds Python objects.")
        raise MaterializerError(
            f"An array of {array.dtype} cannot be stored as .npy: it holds Python objects, which only pickle can "
            "write. Give it a type of elements, as array.astype(float) or array.astype(str); return array.tolist(); or "
            "declare the output Artifact(allow_pickle=True)."
        )
    if not _is_exact(array.dtype):
        raise EncodingError(f"The format .npy does not keep the type {array.dtype}.")


def _is_exact(dtype: Any) -> bool:
    from numpy.lib import format as npy

    try:
        return dtype.metadata is None and bool(npy.descr_to_dtype(npy.dtype_to_descr(dtype)) == dtype)
    except (TypeError, ValueError):
        return False


def header(array: numpy.ndarray[Any, Any]) -> bytes:
    """What stands in a `.npy` file before the data of an array in C order."""
    from numpy.lib import format as npy

    described = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    for write in (npy.write_array_header_1_0, npy.write_array_header_2_0):
        buffer = io.BytesIO()
        try:
            write(buffer, described)
        except ValueError:  # too long for the first version of the format, or a name it cannot spell
            continue
        return buffer.getvalue()
    raise EncodingError(f"The format .npy does not keep the names in {array.dtype}.")


def pieces(array: numpy.ndarray[Any, Any]) -> Iterator[memoryview]:
    """The data of an array in C order: in one piece where it lies so, else copied bit by bit."""
    import numpy

    if not array.nbytes:
        return
    if array.flags.c_contiguous and not _is_padded(array.dtype):
        yield array.reshape(-1).view(numpy.uint8).data
        return
    if array.ndim == 0:
        array = array.reshape(1)
    rows = max(1, COPIED * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        yield unpadded(array[start : start + rows]).reshape(-1).view(numpy.uint8).data


def unpadded(array: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """A contiguous copy with zeros between its fields, where the memory of a structured array holds anything."""
    import numpy

    if not _is_padded(array.dtype):
        return numpy.ascontiguousarray(array)
    clean = numpy.zeros(array.shape, array.dtype)
    _copy_fields(array, clean)
    return clean


def _is_padded(dtype: Any) -> bool:
    if dtype.subdtype is not None:
        return _is_padded(dtype.base)
    if not dtype.names:
        return False
    fields = [dtype.fields[name][0] for name in dtype.names]
    return sum(field.itemsize for field in fields) != dtype.itemsize or any(_is_padded(field) for field in fields)


def _copy_fields(source: Any, target: Any) -> None:
    for name in source.dtype.names:
        if source.dtype[name].base.names:
            _copy_fields(source[name], target[name])
        else:
            target[name] = source[name]
