"""Large data in a bucket: what is transferred of it, on a real server."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drystone import Secret, Stack, Workspace, blob_cache, load_artifact, pipeline, save_artifact, step
from drystone.artifacts import Artifact
from drystone.materializers import Materializers
from drystone.testing import InlineOrchestrator
from drystone_data import PandasFrameMaterializer
from services.counters import MOVED, Counted
from services.seaweed import S3Server


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setenv("S3_KEY", s3_server.admin.key)
    monkeypatch.setenv("S3_SECRET", s3_server.admin.secret)
    MOVED.update(up=0, down=0)
    credentials = {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}
    return Counted(f"s3://{s3_bucket}/artifacts", endpoint_url=s3_server.endpoint_url, **credentials)


def frame(rows: int, columns: int = 100) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    return pd.DataFrame({f"c{at}": generator.random(rows) for at in range(columns)})


def test_one_of_100_columns_of_a_frame_in_a_bucket_is_all_that_is_transferred(store: Counted) -> None:
    known, value = Materializers([(PandasFrameMaterializer, "the tests")], allow_pickle=False), frame(70_000)
    manifest, _ = known.save(value, Artifact(), store)
    blob_cache().clear()
    MOVED.update(up=0, down=0)
    pd.testing.assert_frame_equal(known.load(manifest, store, columns=["c42"]), value[["c42"]])
    assert 0 < MOVED["down"] < 0.03 * manifest.size
    known.save(pd.concat([value, value[:100]], ignore_index=True), Artifact(), store)
    assert MOVED["up"] < 0.1 * manifest.size, "the first row group is there already"
    MOVED.update(down=0)
    pd.testing.assert_frame_equal(known.load(manifest, store), value)
    pd.testing.assert_frame_equal(known.load(manifest, store), value)
    assert MOVED["down"] < 1.01 * manifest.size, "what was fetched once is in the cache"


def test_a_step_loads_some_columns_and_what_a_step_stored_is_not_downloaded(
    store: Counted, workspace: Workspace
) -> None:
    @step
    def features() -> pd.DataFrame:
        return frame(20_000, 20)

    @step
    def total(data: pd.DataFrame) -> float:
        assert data.shape == (20_000, 20)
        return float(load_artifact("given", columns=["c3"], rows=slice(0, 1000))["c3"].sum())

    @pipeline
    def sums():
        return total(features())

    stack = Stack("bucket", orchestrator=InlineOrchestrator(), artifact_store=store)
    given = frame(70_000)
    with_stack = sums.with_options(stack=stack)
    workspace.bind_store(store)
    save_artifact(given, "given")  # into the local store of the workspace
    run = with_stack()
    assert run.steps["total"].outputs["output"].load() == float(given["c3"][:1000].sum())
    assert workspace.run(run.name).steps["features"].outputs["output"].load(columns=["c0"]).shape == (20_000, 1)
    stored = workspace.artifact("given").size + run.steps["features"].outputs["output"].size
    assert MOVED["down"] < 0.03 * stored, "one column of one row group; what the step before stored is in the cache"
