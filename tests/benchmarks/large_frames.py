"""What is transferred of a large frame in a bucket, and how long that takes, against a real S3 server on this machine.

Run by hand: `PYTHONPATH=tests python tests/benchmarks/large_frames.py`; with `--smoke`, a small frame that only shows
that it works. The bars: one of 100 columns of 1 GB transfers under 3 % of its bytes, and of appended rows only the new
row groups are uploaded.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from drystone import Artifact, Secret, blob_cache, load_plugins
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Manifest
from drystone.materializers import Materializers
from services.counters import MOVED, Counted
from services.seaweed import running


def told(what: str, whole: int, call: Callable[[], Any]) -> Any:
    """Call something, and print what it transferred and how long it took."""
    before, start = dict(MOVED), time.perf_counter()
    result = call()
    took = time.perf_counter() - start
    up, down = ((MOVED[name] - before[name]) for name in ("up", "down"))
    moved = f"up {up / 1e6:8.1f} MB   down {down / 1e6:8.1f} MB   {100 * max(up, down) / whole:6.2f} %"
    print(f"{what:<28} {took:7.2f} s   {moved}", flush=True)
    return result


def compare(known: Materializers, store: ArtifactStore, rows: int) -> None:
    """Save a frame of 100 columns, load parts of it, append to it."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{at}": generator.random(rows) for at in range(100)})
    whole = 800 * rows
    manifest: Manifest = told("saved", whole, lambda: known.save(frame, Artifact(), store)[0])
    print(f"{manifest.size / 1e6:.0f} MB in {len(manifest.blobs)} files")
    told("loaded, from the cache", whole, lambda: known.load(manifest, store))
    blob_cache().clear()
    told("one column (bar 3 %)", whole, lambda: known.load(manifest, store, columns=["c50"]))
    told(
        "ten columns, 1000 rows",
        whole,
        lambda: known.load(manifest, store, columns=[f"c{at}" for at in range(10)], rows=slice(-1000, None)),
    )
    told("loaded, fetched", whole, lambda: known.load(manifest, store))
    told("loaded, from the cache", whole, lambda: known.load(manifest, store))
    longer = pd.concat([frame, frame[:1000]], ignore_index=True)
    told("saved with 1000 more rows", whole, lambda: known.save(longer, Artifact(), store)[0])


def main() -> None:
    """Start a server, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small frame")
    rows = 70_000 if parser.parse_args().smoke else 1_250_000
    with running() as server, tempfile.TemporaryDirectory() as cache:
        os.environ.update(S3_KEY=server.admin.key, S3_SECRET=server.admin.secret, DRYSTONE_CACHE=cache)
        store = Counted(
            f"s3://{server.make_bucket()}/artifacts",
            endpoint_url=server.endpoint_url,
            key=Secret("env:S3_KEY"),
            secret=Secret("env:S3_SECRET"),
        )
        compare(Materializers(load_plugins().materializers(), allow_pickle=False), store, rows)


if __name__ == "__main__":
    main()
