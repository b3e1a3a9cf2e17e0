"""Large objects: stored and fetched in parts, several at once."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable
from hashlib import md5
from typing import TYPE_CHECKING, Any

from drystone_s3.failures import code_of, status_of

if TYPE_CHECKING:
    from drystone_s3.buckets import Bucket

PART = 16 << 20
"""Bytes of a part, and so of what is stored or fetched by one request."""

MOST = 10_000
"""Parts that an object can have; those of an object of 5 TB are larger."""

FLYING = 128 << 20
"""Bytes of one transfer that are on their way, and in memory, at once."""

TRIES = 5
"""So often an object that changes while it is read is read again, or one that comes and goes is asked for."""

MARK = "drystone"
"""The name of the metadata that tells a writer which object is its own."""


Land = Callable[[int, bytes], object]
"""Is given each piece of what is fetched, with where in it the piece begins."""


def whole(data: bytes) -> dict[str, Any]:
    """A body, and what tells it from a part of it: some servers store an empty object if its writer dies before it."""
    return {"Body": data, "ContentMD5": b64encode(md5(data, usedforsecurity=False).digest()).decode()}


def part_size(size: int) -> int:
    """Bytes of each part of an object, in whole MiB."""
    return max(PART, -(-size // MOST >> 20) + 1 << 20 if size > PART * MOST else 0)


async def store(bucket: Bucket, key: str, size: int, read: Callable[[int, int], bytes]) -> None:
    """Store an object, which appears when all of it is there; `read` gives bytes from a position on."""
    if size <= PART:
        await bucket.asked("put_object", key, **whole(read(0, size)))
        return
    await bucket.tidied_once()
    mark = os.urandom(16).hex()
    started = await bucket.asked("create_multipart_upload", key, Metadata={MARK: mark})
    upload = {"UploadId": started["UploadId"]}
    try:
        parts = await _sent(bucket, key, upload, size, read)
        await bucket.asked("complete_multipart_upload", key, **upload, MultipartUpload={"Parts": parts})
    except BaseException as exc:
        if code_of(exc) == "NoSuchUpload" and await bucket.mark(key) == mark:
            return  # it was completed, and the answer was lost
        await bucket.abandoned(key, upload)
        raise


async def _sent(
    bucket: Bucket, key: str, upload: dict[str, str], size: int, read: Callable[[int, int], bytes]
) -> list[dict[str, Any]]:
    """Send the parts of an object; returns what completes it."""
    length = part_size(size)
    sent: list[dict[str, Any]] = []

    async def send(start: int) -> None:
        number = start // length + 1
        body = await asyncio.to_thread(read, start, min(length, size - start))
        answer = await bucket.asked("upload_part", key, **upload, PartNumber=number, Body=body)
        sent.append({"PartNumber": number, "ETag": answer["ETag"]})

    await in_parallel(send, range(0, size, length), FLYING // length)
    return sorted(sent, key=lambda part: part["PartNumber"])


async def fetch(bucket: Bucket, key: str, start: int, length: int | None, land: Land) -> int:
    """Fetch bytes of an object from `start` on; returns how many there are.

    An object that is replaced meanwhile is fetched anew, so that nobody gets a mixture.
    """
    for _ in range(TRIES - 1):
        try:
            return await _fetched(bucket, key, start, length, land)
        except Exception as exc:
            if status_of(exc) != 412:
                raise
    return await _fetched(bucket, key, start, length, land)


async def _fetched(bucket: Bucket, key: str, start: int, length: int | None, land: Land) -> int:
    def landed(at: int, data: bytes) -> None:
        land(at - start, data)

    try:
        answer = await bucket.got(key, start, PART if length is None else min(PART, length), landed)
    except Exception as exc:
        if status_of(exc) == 416:  # there is nothing from `start` on
            return 0
        raise
    total = int(answer["ContentRange"].rpartition("/")[2])
    end = total if length is None else min(total, start + length)

    async def get(at: int) -> None:
        await bucket.got(key, at, min(PART, end - at), landed, IfMatch=answer["ETag"])

    await in_parallel(get, range(start + answer["ContentLength"], end, PART), FLYING // PART)
    return end - start


async def in_parallel(work: Callable[[int], Awaitable[None]], items: Iterable[int], at_once: int) -> None:
    """Do something for each item, several at once; the first failure ends it all."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(max(2, at_once))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
