"""Secrets are found by the scheme of their reference, by core or by plugins, and never shown."""

from __future__ import annotations

import pytest

from drystone import FsspecArtifactStore, Secret, hookimpl, load_plugins
from drystone.errors import DuplicateComponentError, StackError


class Vault:
    @hookimpl
    def drystone_secret_resolvers(self):
        return {"vault": self.read}

    def read(self, name: str) -> str:
        if name == "team/key":
            return "hidden-text"
        raise LookupError(f"the vault has no {name!r}; it has team/key.")


@pytest.fixture
def vault():
    plugins = load_plugins()
    plugins._offers.pop("drystone_secret_resolvers", None)
    with plugins.observed(Vault(), "vault"):
        yield
    plugins._offers.pop("drystone_secret_resolvers", None)


def test_a_plugin_finds_the_secrets_of_its_scheme(vault):
    assert Secret("vault:team/key").resolve() == "hidden-text"
    with pytest.raises(StackError) as refused:
        Secret("vault:team/other").resolve()
    assert str(refused.value) == (
        "The secret 'vault:team/other' cannot be had: the vault has no 'team/other'; it has team/key."
    )


def test_a_scheme_that_nobody_knows_is_told_with_those_that_are_known():
    with pytest.raises(StackError) as refused:
        Secret("vaults:team/key").resolve()
    assert str(refused.value).startswith(
        "Nothing installed knows where the secret 'vaults:team/key' is: no plugin offers the scheme 'vaults'."
    )
    assert "Schemes: env, file." in str(refused.value)


def test_two_plugins_that_claim_a_scheme_are_an_error_that_names_both(vault):
    with load_plugins().observed(Vault(), "another"):
        load_plugins()._offers.pop("drystone_secret_resolvers", None)
        with pytest.raises(DuplicateComponentError, match="named 'vault'"):
            Secret("vault:team/key").resolve()


def test_a_file_holds_a_secret_without_its_newline(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("hidden text\n")
    assert Secret(f"file:{tmp_path}/key").resolve() == "hidden text"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Secret("file:~/key").resolve() == "hidden text"
    with pytest.raises(
        StackError, match=r"cannot be had: the file .*/none cannot be read: No such file or directory\."
    ):
        Secret(f"file:{tmp_path}/none").resolve()
    with pytest.raises(StackError, match="'key' depends on the working directory"):
        Secret("file:key").resolve()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(StackError, match="it is no text"):
        Secret(f"file:{tmp_path}/binary").resolve()


def test_a_secret_is_shown_by_its_reference_alone(vault):
    store = FsspecArtifactStore(url="memory://x", options={"key": Secret("vault:team/key")})
    assert "hidden-text" not in repr(store) + repr(Secret("vault:team/key"))
