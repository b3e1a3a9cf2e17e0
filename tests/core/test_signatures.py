"""Who commits: the environment says it, else Git, else the system."""

import getpass
import os
import subprocess

import pytest

from drystone.signatures import _user, author_name


@pytest.fixture(autouse=True)
def forgotten(monkeypatch, tmp_path):
    """Nobody is known: no variable, and a Git without an address."""
    monkeypatch.delenv("DRYSTONE_AUTHOR", raising=False)
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
    monkeypatch.chdir(tmp_path)
    _user.cache_clear()
    yield
    _user.cache_clear()


def configure(address: bytes) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "config", "user.email", address], check=True)


def test_the_environment_goes_before_git_and_git_before_the_system(monkeypatch):
    monkeypatch.setenv("LOGNAME", "mason")
    assert author_name() == "mason"
    configure(b"ada@example.org")
    assert author_name() == "mason", "asked once per process"
    _user.cache_clear()
    assert author_name() == "ada@example.org"
    monkeypatch.setenv("DRYSTONE_AUTHOR", "bob")
    assert author_name() == "bob"


def test_an_address_in_another_encoding_is_no_error():
    configure(b"caf\xe9@example.org")
    assert author_name() == "caf\N{REPLACEMENT CHARACTER}@example.org"


def test_without_git_and_without_a_name_the_number_of_the_user_counts(monkeypatch):
    def unknown():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.setenv("PATH", "")
    assert author_name() == str(os.getuid())
