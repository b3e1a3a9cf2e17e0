"""A team shares a workspace through a bucket, with no server."""

from __future__ import annotations

import pickle

import pytest

from drystone import Model, Workspace, pipeline, step
from drystone.errors import StackError, WorkspaceAccessError
from drystone.testing import memory_stack
from drystone_s3 import S3Workspace
from services.seaweed import READER


@step
def add(a: int, b: int) -> int:
    return a + b


@pipeline(model=Model("sums"))
def sums(a: int = 1):
    return add(a, 2)


@pytest.fixture
def machine(project, monkeypatch, s3_server, s3_bucket, credentials):
    """Opens the workspace as another machine does, with a home directory of its own."""
    opened = []

    def made(name: str, **settings: object) -> S3Workspace:
        monkeypatch.setenv("XDG_CACHE_HOME", str(project / name))
        given = {"endpoint_url": s3_server.endpoint_url, **credentials, **settings}
        opened.append(S3Workspace(f"s3://{s3_bucket}/workspace", **given))
        return opened[-1]

    yield made
    for each in opened:
        each.close()


def run_on(workspace: Workspace, project, monkeypatch) -> str:
    (project / "stacks.py").write_text("")
    monkeypatch.setattr(Workspace, "current", classmethod(lambda cls, root=None: workspace))
    return sums.with_options(stack=memory_stack("memory"))().name


def test_another_machine_sees_what_happened(machine, project, monkeypatch):
    ann = machine("ann")
    assert run_on(ann, project, monkeypatch) == "sums-1"
    ben = machine("ben")
    assert ben.directory != ann.directory
    assert [run.name for run in ben.runs()] == ["sums-1"]
    ben.promote("sums", 1, "production")
    assert ann.model_version("sums", "production").number == 1
    assert ann.verify() == []


def test_it_goes_to_another_process_without_a_secret(machine, s3_server):
    workspace = machine("ann")
    assert [*workspace.runs()] == []
    sent = pickle.dumps(workspace)
    assert s3_server.admin.secret.encode() not in sent
    other = pickle.loads(sent)
    assert (other.url, other.directory) == (workspace.url, workspace.directory)
    assert [*other.runs()] == []
    other.close()


def test_who_may_only_read_sees_everything_and_changes_nothing(machine, project, monkeypatch):
    run_on(machine("ann"), project, monkeypatch)
    monkeypatch.setenv("S3_KEY", READER.key)
    monkeypatch.setenv("S3_SECRET", READER.secret)
    reader = machine("reader")
    assert [run.name for run in reader.runs()] == ["sums-1"]
    with pytest.raises(WorkspaceAccessError, match="access denied"):
        reader.tag(reader.run("sums-1"), "seen")


def test_a_url_is_enough_where_the_environment_says_the_rest(machine, project, monkeypatch, s3_server, s3_bucket):
    run_on(machine("ann"), project, monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.admin.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.admin.secret)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "ben"))
    asked = Workspace(f"s3://{s3_bucket}/workspace?endpoint_url={s3_server.endpoint_url}")
    assert [run.name for run in asked.runs()] == ["sums-1"]
    asked.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    usual = Workspace(f"s3://{s3_bucket}/workspace")
    assert [run.name for run in usual.runs()] == ["sums-1"]
    usual.close()


def test_settings_that_do_not_fit_are_told_before_anything_is_made(project):
    with pytest.raises(TypeError, match=r'key=Secret\("env:S3_KEY"\)'):
        S3Workspace("s3://flights/workspace", key="plain")
    with pytest.raises(StackError, match="s3://flights/artifacts"):
        S3Workspace("flights/workspace")
    with pytest.raises(StackError, match=r"key cannot be in a URL\. What can: endpoint_url"):
        Workspace("s3://flights/workspace?key=text")


def test_a_stacks_file_with_it_asks_nothing_and_imports_nothing_heavy(project, python):
    (project / "stacks.py").write_text(
        "from drystone import Secret\nfrom drystone_s3 import S3Workspace\n"
        'workspace = S3Workspace("s3://flights/workspace", endpoint_url="http://127.0.0.1:1",\n'
        '    key=Secret("env:NO_SUCH"), secret=Secret("env:NO_SUCH"))\n'
    )
    (project / "look.py").write_text(
        "import sys, stacks\nprint([name for name in ('s3fs', 'botocore', 'aiohttp') if name in sys.modules])\n"
    )
    done = python("look.py", XDG_CACHE_HOME=str(project / "cache"))
    assert done.stdout.strip() == "[]", done.stderr
