"""One bucket: what is asked of it, on the event loop that s3fs has for that."""

from __future__ import annotations

import asyncio
import datetime
import errno
import io
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from drystone_s3.attempts import attempted
from drystone_s3.failures import TruncatedError, cause_of, status_of
from drystone_s3.transfers import MARK, TRIES, Land, fetch, store, whole

T = TypeVar("T")

PIECE = 1 << 20
"""Bytes that are taken from a connection at once, at most."""

STALE = 24 * 3600
"""Seconds after which nobody goes on with an upload that is not finished."""

BLOBS = "blobs/"
"""Where unfinished uploads are one's own in a bucket without a prefix, which may be others' as well."""


class Buckets:
    """The bucket that a store has in each process: connections and their event loop do not survive a fork."""

    def __init__(self) -> None:
        self._by_process: dict[int, Bucket] = {}

    def mine(self, name: str, prefix: str, options: Callable[[], dict[str, Any]]) -> Bucket:
        """The one of this process. Of two threads that make one at once, both use the same."""
        process = os.getpid()
        if process not in self._by_process:
            self._by_process.setdefault(process, Bucket(connected(options()), name, prefix))
        return self._by_process[process]

    def __reduce__(self) -> tuple[type[Buckets], tuple[()]]:
        """Another process connects anew, and nothing secret goes there."""
        return Buckets, ()


def connected(options: dict[str, Any]) -> Any:
    """The filesystem of s3fs; nothing is asked of the service yet."""
    import s3fs  # noqa: PLC0415 - half a second, which who only describes a stack does not spend

    filesystem = s3fs.S3FileSystem(**options)
    filesystem.retries = 1  # as `attempted` repeats
    return filesystem


class Bucket:
    """The objects below a prefix of a bucket. Keys are relative to the prefix."""

    def __init__(self, filesystem: Any, name: str, prefix: str) -> None:
        self._filesystem = filesystem
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""
        self._is_tidy = False

    # For any thread

    def ask(self, method: str, key: str | None = None, **request: Any) -> dict[str, Any]:
        """One request, repeated while it fails for reasons that pass; its answer."""
        return self._run(self.asked(method, key, **request))

    def head(self, key: str) -> dict[str, Any]:
        """What is known of an object."""
        return self._run(self._headed(key))

    def write(self, key: str, data: bytes) -> None:
        """Store bytes."""
        self._run(store(self, key, len(data), lambda start, length: data[start : start + length]))

    def upload(self, key: str, file: BinaryIO) -> None:
        """Store a file."""
        handle, size = file.fileno(), os.fstat(file.fileno()).st_size
        self._run(store(self, key, size, lambda start, length: _read(handle, start, length)))

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free.

        That it is taken may be told of an own attempt whose answer was lost, so the object is asked whose it is.

        Raises:
            FileExistsError: It is not.
        """
        mark = os.urandom(16).hex()
        for _ in range(TRIES):
            refusal = self._refusal(key, data, mark)
            found = self._run(self.mark(key)) if refusal is not None else mark
            if found == mark:
                return
            if found is not None:
                raise FileExistsError(errno.EEXIST, "The key is taken", key) from refusal
        assert refusal is not None
        raise refusal  # what was in the way was gone each time

    def _refusal(self, key: str, data: bytes, mark: str) -> Exception | None:
        """Try to make an object; returns what a service raises that says that the key is taken."""
        try:
            self.ask("put_object", key, **whole(data), IfNoneMatch="*", Metadata={MARK: mark})
        except Exception as exc:
            if status_of(exc) != 412:
                raise
            return exc
        return None

    def read(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        if length == 0:
            self.head(key)
            return b""
        buffer = io.BytesIO()

        def land(offset: int, data: bytes) -> None:
            buffer.seek(offset)
            buffer.write(data)

        buffer.truncate(self._run(fetch(self, key, start, length, land)))
        return buffer.getvalue()

    def download(self, key: str, local_path: Path) -> None:
        """Copy an object to a local file."""
        with local_path.open("wb") as file:
            handle = file.fileno()
            file.truncate(self._run(fetch(self, key, 0, None, lambda offset, data: _write(handle, offset, data))))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys that begin with a prefix, with sizes, page by page."""
        request = {"Prefix": f"{self._prefix}{prefix}"}
        while True:
            page = self.ask("list_objects_v2", **request)
            for each in page.get("Contents", ()):
                yield each["Key"][len(self._prefix) :], int(each["Size"])
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def now(self) -> float:
        """The time that stands in every answer, also in the one that there is no such object."""
        try:
            answer = self.head("clock")
        except Exception as exc:
            if status_of(exc) != 404:
                raise
            answer = cause_of(exc).response
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()

    def abandon_unfinished(self) -> int:
        """Give up the unfinished uploads whose writers were killed; returns how many there were."""
        return self._run(self.tidied())

    # On the event loop

    async def asked(self, method: str, key: str | None = None, **request: Any) -> dict[str, Any]:
        """What `ask` gives."""
        return await attempted(lambda: self._requested(method, key, **request))

    async def got(self, key: str, start: int, length: int, land: Land, **request: Any) -> dict[str, Any]:
        """Get a range, and give each piece of it to `land` as it arrives, with its position; the answer.

        After an attempt that failed, all pieces come again.
        """

        async def get() -> dict[str, Any]:
            wanted, at = f"bytes={start}-{start + length - 1}", start
            answer = await self._requested("get_object", key, Range=wanted, **request)
            async with answer["Body"] as body:
                while data := await body.read(PIECE):
                    land(at, data)
                    at += len(data)
            if at - start != answer["ContentLength"]:
                raise TruncatedError(f"{at - start} of {answer['ContentLength']} bytes arrived.")
            return answer

        return await attempted(get)

    async def _headed(self, key: str) -> dict[str, Any]:
        try:
            return await self.asked("head_object", key)
        except Exception as exc:
            if status_of(exc) in (301, 400, 403):  # which is all there is in an answer to HEAD
                await self.got(key, 0, 1, lambda at, data: None)  # says why
            raise

    async def mark(self, key: str) -> str | None:
        """What the writer of an object marked it with, empty if with nothing; None if there is no object."""
        with suppress(FileNotFoundError):
            found: dict[str, str] = (await self._headed(key))["Metadata"]
            return found.get(MARK, "")
        return None

    async def abandoned(self, key: str, upload: dict[str, str]) -> None:
        """Give an unfinished upload up, as well as that goes: without, its parts would stay and cost."""
        with suppress(Exception):
            await asyncio.shield(self._requested("abort_multipart_upload", key, **upload))

    async def tidied(self) -> int:
        """Give up the unfinished uploads whose writers were killed; returns how many there were."""
        self._is_tidy = True
        request = {"Prefix": self._prefix or BLOBS}
        oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=STALE)
        page = await self.asked("list_multipart_uploads", **request)  # the first thousand; the next time, those after
        stale = [each for each in page.get("Uploads", ()) if each["Initiated"] < oldest]
        for each in stale:
            await self.abandoned(each["Key"][len(self._prefix) :], {"UploadId": each["UploadId"]})
        return len(stale)

    async def tidied_once(self) -> None:
        """The same, once in each process; without the right to do so it is left alone."""
        if not self._is_tidy:
            with suppress(Exception):
                await self.tidied()

    async def _requested(self, method: str, key: str | None, **request: Any) -> dict[str, Any]:
        named = {} if key is None else {"Key": f"{self._prefix}{key}"}
        answer: dict[str, Any] = await self._filesystem._call_s3(method, Bucket=self._name, **named, **request)
        return answer

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have work done on the event loop. Where the wait is interrupted, it ends before this does."""
        ended = threading.Event()

        async def ending() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(ending(), self._filesystem.loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait(5)
            raise


def _read(handle: int, start: int, length: int) -> bytes:
    data = os.pread(handle, length, start)
    if len(data) != length:
        raise OSError(errno.EIO, "A file that is uploaded became shorter meanwhile")
    return data


def _write(handle: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
