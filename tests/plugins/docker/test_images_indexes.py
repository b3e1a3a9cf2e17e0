"""What a build is told of indexes, and that none of it is shown."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from drystone import Secret
from drystone.errors import StackError
from drystone_docker.indexes import CERTIFICATES, PASSED, Access, expanded


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [*filter(PASSED.fullmatch, os.environ), *CERTIFICATES]:
        monkeypatch.delenv(name, raising=False)


def variables(access: Access) -> dict[str, str]:
    """What a shell makes of it."""
    script = f"{access.script()}env -0"
    said = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    return dict(each.split("=", 1) for each in said.stdout.split("\0") if each)


def test_what_pip_was_told_is_told_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://main.example.org/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.example.org/simple file:///here/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "180")
    found = variables(Access.of_driver("https://first.example.org/simple"))
    assert found["UV_DEFAULT_INDEX"] == found["PIP_INDEX_URL"] == "https://main.example.org/simple"
    assert found["UV_INDEX"] == "https://first.example.org/simple https://more.example.org/simple"
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://proxy.example.org:3128"
    assert found["UV_HTTP_TIMEOUT"] == "180"


@pytest.mark.parametrize("index", ["https://main.example.org/simple", "team=https://main.example.org/simple"])
def test_what_uv_was_told_is_told_to_pip(monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    found = variables(Access.of_driver(None))
    assert (found["UV_DEFAULT_INDEX"], found["PIP_INDEX_URL"]) == (index, "https://main.example.org/simple")


def test_nothing_is_told_where_nothing_is_set() -> None:
    assert Access.of_driver(None).script() == ""


def test_certificates_go_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    access = Access.of_driver(None)
    assert access.certificates == b"-----BEGIN CERTIFICATE-----"
    assert variables(access)["SSL_CERT_FILE"] == "/drystone-build/certificates.pem"


def test_credentials_are_hidden_in_output_and_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEX", "https://team:p%40ss-word'x@packages.example.org/simple")
    monkeypatch.setenv("TOKEN", "tok-1234")
    line = "parcel @ https://${TOKEN}@example.org/parcel.whl"
    access = Access.of_driver(Secret("env:INDEX"), [line])
    assert variables(access)["DRYSTONE_INDEX"] == "https://team:p%40ss-word'x@packages.example.org/simple"
    assert expanded(line) == "parcel @ https://tok-1234@example.org/parcel.whl"
    shown = access.hidden("401 for https://team:p%40ss-word'x@packages.example.org, p@ss-word'x, tok-1234")
    assert not any(text in shown + repr(access) for text in ("p%40ss", "p@ss", "tok-1234"))
    assert "packages.example.org" in shown


def test_an_index_on_this_machine_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Access.of_driver("http://127.0.0.1:3141/root/simple").is_loopback
    assert Access.of_driver("http://localhost/simple").is_loopback
    assert not Access.of_driver("https://packages.example.org/simple").is_loopback
    assert not Access.of_driver(None).is_loopback
    monkeypatch.setenv("UV_INDEX", "team=http://localhost:3141/simple")
    assert Access.of_driver(None).is_loopback


def test_a_secret_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INDEX", raising=False)
    with pytest.raises(StackError, match="set the environment variable INDEX"):
        Access.of_driver(Secret("env:INDEX"))
