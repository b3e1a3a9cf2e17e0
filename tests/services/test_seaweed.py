"""The server that tests of S3 talk to."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from services.seaweed import READER, Identity, S3Server


def test_a_bucket_is_empty_and_keeps_what_is_stored(s3_server: S3Server, s3_bucket: str) -> None:
    client = s3_server.administration
    assert client.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 0
    client.put_object(Bucket=s3_bucket, Key="a/b", Body=b"x")
    assert client.get_object(Bucket=s3_bucket, Key="a/b")["Body"].read() == b"x"


def test_an_identity_may_do_what_it_may(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.administration.put_object(Bucket=s3_bucket, Key="a", Body=b"x")
    reader = s3_server.client(READER)
    assert reader.get_object(Bucket=s3_bucket, Key="a")["Body"].read() == b"x"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket=s3_bucket, Key="b", Body=b"x")


def test_an_identity_is_made_while_the_server_runs(s3_server: S3Server, s3_bucket: str) -> None:
    """And may write below one prefix alone."""
    identity = Identity(f"runner-{os.urandom(4).hex()}", (f"Read:{s3_bucket}", f"Write:{s3_bucket}/open/*"))
    s3_server.allow(identity)
    client = s3_server.client(identity)
    client.put_object(Bucket=s3_bucket, Key="open/a", Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=s3_bucket, Key="closed/a", Body=b"x")


def test_a_server_that_was_killed_goes_on_with_its_data(own_s3_server: Callable[..., S3Server]) -> None:
    server = own_s3_server()
    bucket, endpoint = server.make_bucket(), server.endpoint_url
    server.administration.put_object(Bucket=bucket, Key="a", Body=b"x")
    server.kill()
    server.start()
    assert server.endpoint_url == endpoint
    assert server.administration.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
