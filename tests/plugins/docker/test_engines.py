"""Whatever keeps an engine from being used is told with what to do."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from drystone.errors import EngineAccessError, EngineError, EngineUnreachableError
from drystone_docker import DockerOrchestrator
from drystone_docker.addresses import SOCKET, Address, address
from drystone_docker.engines import close, engine
from drystone_docker.failures import explained


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Neither variables nor contexts of whoever runs the tests."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    yield
    close()


def test_it_is_found_as_dockers_own_command_line_finds_it(tmp_path, monkeypatch):
    assert address(None).url == SOCKET
    assert address("ssh://user@gpu").url == "ssh://user@gpu"
    contexts(tmp_path, "remote", "ssh://user@gpu")
    assert address(None).url == "ssh://user@gpu"
    assert address(None).source == "Docker's context 'remote' says so"
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.7:2375")
    assert address(None).url == "tcp://10.0.0.7:2375"
    assert address("unix:///run/other.sock").url == "unix:///run/other.sock"


def contexts(tmp_path, name, host):
    """Docker's contexts with this one, which is the current one."""
    import hashlib

    folder = tmp_path / "docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"currentContext": name}))


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        (SOCKET, True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://[::1]:2375", True),
        ("tcp://10.0.0.7:2375", False),
        ("ssh://user@gpu", False),
    ],
)
def test_an_engine_elsewhere_needs_a_store_that_both_see(url, is_here):
    assert Address(url, "").is_here is is_here
    assert DockerOrchestrator(host=url).store_capabilities == (frozenset() if is_here else frozenset({"shared"}))


def test_a_context_that_is_not_there(monkeypatch):
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(EngineError, match="DOCKER_CONTEXT names Docker's context 'gone', which is not there"):
        engine(None)


def test_nothing_is_where_the_engine_should_be(tmp_path):
    with pytest.raises(EngineUnreachableError) as caught:
        engine(f"unix://{tmp_path}/docker.sock")
    assert str(caught.value) == (
        f"No container engine answers at unix://{tmp_path}/docker.sock (the setting host= says so): No such file or "
        "directory. Start it: `sudo systemctl start docker`, or Docker Desktop. `docker info` tells whether it runs."
    )


def test_nobody_listens_on_the_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/engine")
    with pytest.raises(EngineUnreachableError, match=r"Connection refused\. Start it"):
        engine(f"unix://{tmp_path}/engine")


def test_nobody_listens_at_an_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EngineUnreachableError, match=f"No container engine answers at tcp://127.0.0.1:{port}"):
        engine(f"tcp://127.0.0.1:{port}")


def test_a_host_that_does_not_exist():
    with pytest.raises(EngineUnreachableError, match="Is that the right address"):
        engine("tcp://absent.invalid:2375")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_that_is_closed_to_somebody(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        path = f"{tmp_path}/docker.sock"
        server.bind(path)
        server.listen()
        os.chmod(path, 0o660)
        for folder in (tmp_path, *tmp_path.parents):
            if not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
        code = f"""
import os
from drystone.errors import EngineAccessError
from drystone_docker.engines import engine
import docker, docker.errors, docker.context
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    engine("unix://{path}")
except EngineAccessError as exc:
    print(exc)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"You may not use the container engine at unix://{path}: its socket is closed to")
    assert "sudo usermod -aG docker $USER" in done.stdout
    assert "dockerd-rootless-setuptool.sh install" in done.stdout


class Answering(BaseHTTPRequestHandler):
    """An engine of long ago."""

    def do_GET(self):
        data = json.dumps({"ApiVersion": "1.24"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def answering():
    """The port of a server that answers like that."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_an_engine_that_is_too_old():
    with (
        answering() as port,
        pytest.raises(EngineError, match=r"is too old: it speaks version 1\.24 .* 1\.41 is needed"),
    ):
        engine(f"tcp://127.0.0.1:{port}")


def test_an_engine_without_tls_where_it_was_expected(tmp_path, monkeypatch):
    with answering() as port, pytest.raises(EngineError, match="do not agree on TLS"):
        engine(f"https://127.0.0.1:{port}")


def test_certificates_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"its certificates are not there: .* DOCKER_CERT_PATH names the directory"):
        engine("tcp://10.0.0.7:2376")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "`docker system df` shows what takes the space"),
        ('could not select device driver "" with capabilities: [[gpu]]', "Install the NVIDIA Container Toolkit"),
        ("invalid mount config: bind source path does not exist: /x", "does not see files of this machine"),
        ("network flights not found", "`docker network ls` lists them"),
        ("unable to find user worker: no matching entries in passwd file", 'Give user= as numbers, like "1000:1000"'),
        ("client version 1.24 is too old. Minimum supported API version is 1.44", "Bring the older of the two up to"),
        ("image with reference x was found but does not match the specified platform", "Set platform= to one"),
        ("something else", "refused to start a container: something else"),
    ],
)
def test_what_an_engine_answers_is_told_with_the_way_out(said, words):
    from docker.errors import APIError

    error = explained(APIError("500", explanation=said), Address(SOCKET, ""), "start a container")
    assert type(error) is EngineError
    assert words in str(error)
    assert said in str(error)


def test_ssh_needs_one_more_package():
    from docker.errors import DockerException

    error = explained(DockerException("Install paramiko package to enable ssh:// support"), Address("ssh://gpu", ""))
    assert "pip install 'docker[ssh]'" in str(error)


def test_failures_of_other_kinds_stay_what_they_are():
    assert isinstance(explained(PermissionError(13, "Permission denied"), Address(SOCKET, "")), EngineAccessError)
    assert "do not agree on TLS" in str(explained(ssl.SSLError(1, "wrong version"), Address(SOCKET, "")))


def test_one_process_has_one_connection_to_an_engine(docker_engine):
    host = os.environ.get("DOCKER_HOST") or SOCKET
    assert engine(host) is engine(host)
    if (child := os.fork()) == 0:
        os._exit(0 if engine(host).api.ping() else 1)
    assert os.waitpid(child, 0)[1] == 0
    first = engine(host)
    close()
    assert engine(host) is not first
