"""The registries that tests talk to."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from services.registries import TESTER, OciRegistry, program


def status(registry: OciRegistry, password: str | None = None) -> int:
    request = Request(f"http://{registry.address}/v2/")
    if password is not None:
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"{TESTER.username}:{password}".encode()).decode()
        )
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as exc:
        exc.close()
        return exc.code


def test_a_registry_lets_everybody_in(oci_registry: OciRegistry) -> None:
    assert status(oci_registry) == 200


def test_a_locked_registry_lets_in_who_has_the_password(locked_registry: OciRegistry) -> None:
    answers = [status(locked_registry, password) for password in (None, "wrong", TESTER.password)]
    assert answers == [401, 401, 200]


def test_a_registry_may_speak_tls_with_its_own_certificate(own_registry: Callable[..., OciRegistry]) -> None:
    registry = own_registry(tls=True)
    trusting = ssl.create_default_context(cafile=str(registry.certificate))
    with urlopen(f"https://{registry.address}/v2/", context=trusting) as answer:
        assert answer.status == 200


def test_without_the_program_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """And fail where nothing may be missing."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DRYSTONE_REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no OCI registry"):
        program()
    monkeypatch.setenv("DRYSTONE_REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="no OCI registry"):
        program()
