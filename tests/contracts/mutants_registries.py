"""Container registries that are broken on purpose."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from drystone.registries import ContainerRegistry
from drystone.testing.registries import ContainerRegistryContract, MakeImage, MemoryContainerRegistry


class Mutant(ContainerRegistryContract):
    registry: type[MemoryContainerRegistry]

    @pytest.fixture
    def container_registry(self) -> ContainerRegistry:
        return self.registry()

    @pytest.fixture
    def make_image(self, container_registry: Any) -> MakeImage:
        build: MakeImage = container_registry.build
        return build


class AnswersWithTag(MemoryContainerRegistry):
    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        super().push(image, name)
        return self.reference(name)


class TestAnswersWithTag(Mutant):
    caught_by = "test_push_returns_the_reference_by_digest"
    registry = AnswersWithTag


class KeepsTags(MemoryContainerRegistry):
    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        known = self.digest(name)
        reference = super().push(image, name)
        if known is not None:
            self._tags[name] = known
        return reference


class TestKeepsTags(Mutant):
    caught_by = "test_a_tag_moves_and_a_digest_does_not"
    registry = KeepsTags


class ForgetsUntagged(MemoryContainerRegistry):
    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        old = self.digest(name)
        reference = super().push(image, name)
        if old is not None and old not in reference:
            self._images.pop((name.partition(":")[0], old), None)
        return reference


class TestForgetsUntagged(Mutant):
    caught_by = "test_a_tag_moves_and_a_digest_does_not"
    registry = ForgetsUntagged


class RaisesKeyError(MemoryContainerRegistry):
    def pull(self, name: str, *, engine: Any = None) -> str:
        repository, digest = self._split(name)
        return self.build(self._images[repository, digest or ""].decode())


class TestRaisesKeyError(Mutant):
    caught_by = "test_what_was_never_pushed_cannot_be_pulled"
    registry = RaisesKeyError


class TagsBeforeItStores(MemoryContainerRegistry):
    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        repository, _, _ = name.partition(":")
        self._tags[name] = image
        self._images[repository, image] = b""
        return super().push(image, name)


class TestTagsBeforeItStores(Mutant):
    caught_by = "test_an_image_that_the_engine_lacks_is_not_pushed"
    registry = TagsBeforeItStores


class ListsStale(MemoryContainerRegistry):
    def tags(self, repository: str) -> list[str]:
        listed: list[str] = vars(type(self)).get("_listed", {}).setdefault(repository, super().tags(repository))
        return listed

    _listed: dict[str, list[str]] = {}  # noqa: RUF012 - broken on purpose


class TestListsStale(Mutant):
    caught_by = "test_tags_are_listed_or_refused"
    registry = ListsStale


class ListsByPrefix(MemoryContainerRegistry):
    def tags(self, repository: str) -> list[str]:
        return sorted(name.split(":")[1] for name in self._tags if name.startswith(repository))


class TestListsByPrefix(Mutant):
    caught_by = "test_tags_are_listed_or_refused"
    registry = ListsByPrefix


class DeletesOneTag(MemoryContainerRegistry):
    def delete(self, name: str) -> None:
        self._tags.pop(name, None)


class TestDeletesOneTag(Mutant):
    caught_by = "test_images_are_deleted_or_refused"
    registry = DeletesOneTag


class RefusesInSilence(MemoryContainerRegistry):
    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset()

    def delete(self, name: str) -> None:
        return None


class TestRefusesInSilence(Mutant):
    caught_by = "test_images_are_deleted_or_refused"
    registry = RefusesInSilence


class TakesAnyName(MemoryContainerRegistry):
    def reference(self, name: str) -> str:
        return f"{self.uri}/{name.removeprefix(f'{self.uri}/')}"


class TestTakesAnyName(Mutant):
    caught_by = "test_other_names_are_refused"
    registry = TakesAnyName


class RaisesForAbsentTags(MemoryContainerRegistry):
    def digest(self, name: str) -> str | None:
        return self._tags[name]


class TestRaisesForAbsentTags(Mutant):
    caught_by = "test_what_was_never_pushed_has_no_digest"
    registry = RaisesForAbsentTags


class KeepsLabels(MemoryContainerRegistry):
    def labels(self, name: str) -> dict[str, str] | None:
        own = name.partition("@")[0].partition(":")[0].removeprefix(f"{self.uri}/")
        return next(({"text": self._images[key].decode()} for key in self._images if key[0] == own), None)


class TestKeepsLabels(Mutant):
    caught_by = "test_labels_are_read_without_a_pull"
    registry = KeepsLabels


class LabelsOfNothing(MemoryContainerRegistry):
    def labels(self, name: str) -> dict[str, str]:
        return super().labels(name) or {}


class TestLabelsOfNothing(Mutant):
    caught_by = "test_labels_are_read_without_a_pull"
    registry = LabelsOfNothing


@attrs.frozen(kw_only=True)
class PlainPassword(MemoryContainerRegistry):
    password: str = "hunter2"


class TestPlainPassword(Mutant):
    caught_by = "test_credentials_are_secrets"
    registry = PlainPassword
