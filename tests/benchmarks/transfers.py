"""How fast an array of 1 GiB goes to a bucket and comes back, as ratios to what other clients take in the same run.

Run by hand: `python tests/benchmarks/transfers.py`; with `--smoke`, a small array that only shows that it works.

Each client moves the same file to the same server, SeaweedFS on this machine, in turn; the best of its rounds counts.
boto3 and obstore take part where they are installed: pip install boto3 obstore drystone-s3, at once, since boto3 and
s3fs share botocore. Seconds of the processor are printed as well, which other processes do not change as much.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from drystone import Secret
from drystone_s3 import S3ArtifactStore
from services.seaweed import S3Server, running

CHUNK = 16 << 20


@attrs.frozen
class Client:
    """What one client is asked to do: take a file there, and bring it back."""

    up: Callable[[Path], object]
    down: Callable[[Path], object]


def drystone(server: S3Server, bucket: str) -> Client:
    """The artifact store."""
    os.environ.update(BENCH_KEY=server.admin.key, BENCH_SECRET=server.admin.secret)
    credentials = {"key": Secret("env:BENCH_KEY"), "secret": Secret("env:BENCH_SECRET")}
    store = S3ArtifactStore(f"s3://{bucket}/drystone", endpoint_url=server.endpoint_url, **credentials)
    return Client(lambda file: store.upload(file, "blobs/array"), lambda file: store.download("blobs/array", file))


def boto3_client(server: S3Server, bucket: str) -> Client:
    """The transfer manager of boto3, with its defaults and with larger parts: whichever is faster counts."""
    import boto3
    from boto3.s3.transfer import TransferConfig

    client = boto3.client("s3", **_session(server))
    config = TransferConfig(multipart_chunksize=CHUNK)
    return Client(
        lambda file: client.upload_file(str(file), bucket, "boto3", Config=config),
        lambda file: client.download_file(bucket, "boto3", str(file), Config=config),
    )


def obstore_client(server: S3Server, bucket: str) -> Client:
    """The client in Rust; downloads by ranges in four threads, which is the fastest way found."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        endpoint=server.endpoint_url,
        access_key_id=server.admin.key,
        secret_access_key=server.admin.secret,
        region="us-east-1",
        client_options={"allow_http": True},
    )

    def up(file: Path) -> None:
        with file.open("rb") as source:
            obstore.put(store, "obstore", source, chunk_size=CHUNK, max_concurrency=8)

    def down(file: Path) -> None:
        size = obstore.head(store, "obstore")["size"]
        with file.open("wb") as target, ThreadPoolExecutor(4) as pool:

            def get(start: int) -> None:
                length = min(CHUNK, size - start)
                os.pwrite(target.fileno(), obstore.get_range(store, "obstore", start=start, length=length), start)

            list(pool.map(get, range(0, size, CHUNK)))

    return Client(up, down)


def _session(server: S3Server) -> dict[str, Any]:
    return {
        "endpoint_url": server.endpoint_url,
        "region_name": "us-east-1",
        "aws_access_key_id": server.admin.key,
        "aws_secret_access_key": server.admin.secret,
    }


CLIENTS = {"drystone": drystone, "boto3": boto3_client, "obstore": obstore_client}


@contextmanager
def array(mib: int) -> Iterator[Path]:
    """A directory with an array that cannot be compressed."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "array.npy")
        np.save(file, np.random.default_rng(1).integers(0, 255, mib << 20, dtype=np.uint8))
        yield file


def spent(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a call takes."""
    begun, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - used


Times = dict[str, dict[str, tuple[float, float]]]
"""By way and client."""


def measured(mib: int, rounds: int) -> Times:
    """The best of each client, up and down."""
    best: Times = {"up": {}, "down": {}}
    with running() as server, array(mib) as file:
        bucket = server.make_bucket()
        clients = {}
        for name, make in CLIENTS.items():
            with suppress(ImportError):
                clients[name] = make(server, bucket)
        for _ in range(rounds):
            for name, client in clients.items():
                copy = file.with_name(name)
                for way, move in (("up", lambda c=client: c.up(file)), ("down", lambda c=client, f=copy: c.down(f))):
                    took = spent(move)
                    best[way][name] = min(took, best[way].get(name, took))
                assert copy.stat().st_size == file.stat().st_size
                copy.unlink()
    return best


def main(mib: int = 1024, rounds: int = 3) -> None:
    """Measure and print."""
    best = measured(mib, rounds)
    print(f"{mib} MiB, best of {rounds}; times what the best of the others takes (bar 1.3)")
    for way, clients in best.items():
        least = min([clock for name, (clock, _) in clients.items() if name != "drystone"] or [0.0])
        for name, (clock, processor) in clients.items():
            ratio = f"{clock / least:5.2f} x" if least else ""
            print(f"{way:>5}  {name:<9} {clock:6.2f} s of the clock, {processor:6.2f} s of the processor  {ratio}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3])) if sys.argv[1:] and sys.argv[1].isdigit() else main(
        *((24, 1) if "--smoke" in sys.argv else ())
    )
