"""The orchestrator's settings, and what containers see of this machine because of them."""

import os
import pickle
from types import SimpleNamespace

import pytest

from drystone import FsspecArtifactStore, Place, Resources, Secret
from drystone.errors import StackError
from drystone.values import from_json, to_json
from drystone_docker import DockerOrchestrator, Image
from drystone_docker.limits import Limits
from drystone_docker.mounts import CACHE, Bind, surroundings
from drystone_docker.users import user_of
from drystone_local import LocalArtifactStore
from drystone_s3 import S3ArtifactStore
from services.containers import PlainOrchestrator


def engine(*, is_here=True, is_virtual=False, is_rootless=False):
    """What is to be known of an engine."""
    shares_kernel = is_here and not is_virtual
    return SimpleNamespace(
        is_here=is_here,
        is_virtual=is_virtual,
        is_rootless=is_rootless,
        shares_kernel=shares_kernel,
        shares_network=shares_kernel and not is_rootless,
    )


def test_it_is_called_docker_and_can_do_everything():
    assert (DockerOrchestrator.kind, DockerOrchestrator.name) == ("orchestrator", "docker")
    assert DockerOrchestrator().capabilities == {"parallel", "timeout", "resources", "cancel", "isolation"}
    assert DockerOrchestrator().launches


def test_it_takes_four_workers_or_one_per_core():
    assert DockerOrchestrator().concurrency == max(4, os.cpu_count())
    assert DockerOrchestrator(workers=2).concurrency == 2


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(StackError) as caught:
        DockerOrchestrator(
            cpus=0,
            memory="8 gigs",
            shm_size=-1,
            gpus=1.5,
            workers=0,
            host="docker.sock",
            network="",
            user="a b",
            volumes={"/data": "data"},
            steps={"train": "python:3.12"},
            platform="amd",
        )
    told = str(caught.value)
    for words in (
        "11 problems",
        "cpus=0: it is a number of cores, as 2 or 0.5.",
        "memory='8 gigs': it is an amount of memory, as bytes, or text like \"8GiB\".",
        "shm_size=-1: it is an amount of memory",
        "gpus=1.5: it is a whole number from 0 on.",
        "workers=0: it is a whole number from 1 on.",
        "host='docker.sock' is no address of a container engine, like unix:///var/run/docker.sock",
        "network='': it is the name of a network",
        "user='a b': it is a user and perhaps a group",
        "volumes['/data'] is 'data'; it is an absolute path in containers",
        "steps['train'] is 'python:3.12'; it takes what differs for the step, as Image(base_image=…).",
        "platform='amd'",
    ):
        assert words in told


def test_an_unknown_setting_is_refused_with_those_there_are():
    with pytest.raises(StackError, match=r"no setting 'enviroment'. Did you mean 'environment'\?"):
        DockerOrchestrator(enviroment={})


def test_it_can_be_compared_copied_and_kept():
    settings = {
        "requirements": ["pandas>=2"],
        "environment": {"TOKEN": Secret("env:TOKEN"), "PLAIN": "1"},
        "steps": {"train": Image(base_image="cuda")},
        "volumes": {"/data": "/data:ro"},
        "memory": "8GiB",
    }
    one, other = DockerOrchestrator(**settings), DockerOrchestrator(**settings)
    assert one == other
    assert hash(one) == hash(other)
    assert one != DockerOrchestrator(**settings, cpus=2)
    assert pickle.loads(pickle.dumps(one)) == one
    assert from_json(to_json(one)) == one


def test_what_differs_for_a_step_stands_over_what_holds_for_all():
    orchestrator = DockerOrchestrator(
        base_image="slim", system_packages=["git"], steps={"train": Image(base_image="cuda")}
    )
    assert orchestrator.image_of("load") == Image(base_image="slim", system_packages=("git",))
    assert orchestrator.image_of("train") == Image(base_image="cuda", system_packages=("git",))
    assert orchestrator.image_of("train[3]") == orchestrator.image_of("train")


def test_what_a_step_declares_stands_over_the_settings():
    limits = DockerOrchestrator(cpus=1, memory="1GiB", shm_size="16MiB").limits
    assert limits.of(None) == Limits(cpus=1, memory=1 << 30, shm_size=16 << 20)
    assert limits.of(Resources(memory="2GiB", gpus=1)) == Limits(cpus=1, memory=2 << 30, gpus=1, shm_size=16 << 20)


def test_limits_are_as_the_engine_takes_them():
    assert Limits().of_host(2) == {}
    assert Limits(cpus=64, memory=1 << 30).of_host(2) == {
        "nano_cpus": 2_000_000_000,
        "mem_limit": 1 << 30,
        "memswap_limit": 1 << 30,
        "shm_size": 1 << 29,
    }
    (request,) = Limits(gpus=2).of_host(2)["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (2, [["gpu"]])


def test_root_of_a_rootless_engine_is_who_runs_it():
    assert user_of(None, engine()) == f"{os.getuid()}:{os.getgid()}"
    assert user_of(None, engine(is_rootless=True)) == "0:0"
    assert user_of("1000", engine(is_rootless=True)) == "1000"


# What containers see of this machine


@pytest.fixture(autouse=True)
def without_certificates(monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def seen(store, root, *, volumes=None, network=None, **of_engine):
    return surroundings(engine(**of_engine), store, volumes or {}, network, root)


def test_a_store_of_files_is_at_the_same_path_and_made_before(tmp_path):
    for store in (LocalArtifactStore(f"{tmp_path}/here"), FsspecArtifactStore(url=f"file://{tmp_path}/there")):
        (bind,) = seen(store, tmp_path).binds
        assert bind.source == bind.target
        assert os.path.isdir(bind.source)
    assert sorted(os.listdir(tmp_path)) == ["here", "there"]


def test_with_a_store_elsewhere_containers_share_what_was_downloaded(tmp_path, cache):
    found = seen(S3ArtifactStore("s3://flights/artifacts"), tmp_path)
    assert found.binds == (Bind(f"{cache}/blobs", f"{CACHE}/blobs"),)
    assert found.variables == {"DRYSTONE_CACHE": CACHE}
    assert found.network is None
    for of_engine in ({"is_here": False}, {"is_virtual": True}):
        assert seen(S3ArtifactStore("s3://flights/artifacts"), tmp_path, **of_engine).binds == ()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "s3.localhost", "127.1"])
def test_a_store_on_this_machine_is_reached_over_its_own_network(tmp_path, host):
    store = S3ArtifactStore("s3://flights/artifacts", endpoint_url=f"http://{host}:8333")
    assert seen(store, tmp_path).network == "host"
    assert seen(store, tmp_path, network="flights").network == "flights"


@pytest.mark.parametrize(
    ("of_engine", "words"),
    [
        (
            {"is_here": False},
            "containers run on another machine, where it leads to themselves. Write an address that both",
        ),
        (
            {"is_virtual": True},
            "containers run in a network of their own, where it leads to themselves. Write host.docker",
        ),
        ({"is_rootless": True}, "Write an address of this machine that is no loopback one, and let the service listen"),
    ],
)
def test_where_that_is_impossible_it_is_told_why(tmp_path, of_engine, words):
    store = S3ArtifactStore("s3://flights/artifacts", endpoint_url="http://localhost:8333")
    with pytest.raises(StackError) as caught:
        seen(store, tmp_path, **of_engine)
    assert str(caught.value).startswith(
        "The artifact store's endpoint_url='http://localhost:8333' leads to this machine"
    )
    assert words in str(caught.value)


def test_volumes_start_at_the_projects_root(tmp_path):
    (tmp_path / "data").mkdir()
    found = seen(None, tmp_path, volumes={"data": "/data:ro", str(tmp_path): "/all/"})
    assert found.binds == (Bind(f"{tmp_path}/data", "/data", True), Bind(str(tmp_path), "/all"))


def test_certificates_that_this_machine_was_told_to_trust_are_trusted(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/ca.pem")
    found = seen(None, tmp_path)
    assert found.binds == (Bind(f"{tmp_path}/ca.pem", "/etc/drystone-certificates.pem", True),)
    assert set(found.variables) == {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"}
    assert seen(None, tmp_path, is_here=False).binds == ()


def test_what_it_is_used_with_is_no_setting_of_it(tmp_path):
    plain, store = DockerOrchestrator(), LocalArtifactStore(str(tmp_path))
    bound = plain.at(Place(root=tmp_path, workspace=tmp_path)).within({"artifact_store": store})
    assert (bound.root, bound.artifact_store) == (tmp_path, store)
    assert bound == plain
    assert pickle.loads(pickle.dumps(bound)).artifact_store == store
    assert isinstance(PlainOrchestrator().at(Place(root=tmp_path, workspace=tmp_path)), PlainOrchestrator)
