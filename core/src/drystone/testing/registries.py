"""What every container registry does, and one in memory that does it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import attrs
import pytest

from drystone.components import StackComponent
from drystone.errors import CapabilityError, ImageNotFoundError, RegistryUnreachableError
from drystone.registries import DELETE, LIST, ContainerRegistry
from drystone.secrets import Secret

MakeImage = Callable[[str], str]
"""Makes a small image with a label `text`, which the container engine has from then on; returns its id there."""

ABSENT = "sha256:" + "0" * 64


@attrs.frozen(kw_only=True)
class MemoryContainerRegistry(ContainerRegistry):
    """A registry, and the container engine that goes with it, in memory.

    Attributes:
        address: What its `uri` says.
    """

    address: str = "localhost:5000/tests"
    _engine: dict[str, bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    _images: dict[tuple[str, str], bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    _tags: dict[str, str] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    _lock: Any = attrs.field(factory=threading.Lock, init=False, eq=False, repr=False)

    @property
    def uri(self) -> str:
        """Its address."""
        return self.address

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything."""
        return frozenset({LIST, DELETE})

    def build(self, text: str) -> str:
        """Make an image with some text in it; returns its id in the engine."""
        image = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self._engine[image] = text.encode()
        return image

    def forget(self, image: str) -> None:
        """Remove an image from the engine."""
        self._engine.pop(image, None)

    def _split(self, name: str) -> tuple[str, str | None]:
        """A name's repository, and its digest if that is what it has; of a name without either, the tag is `latest`."""
        own = self.reference(name).removeprefix(f"{self.uri}/")
        repository, _, digest = own.partition("@")
        return repository.partition(":")[0], digest or self._tags.get(_tagged(own))

    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        """Store an image of the engine."""
        own = self.reference(name).removeprefix(f"{self.uri}/")
        if image not in self._engine:
            raise ImageNotFoundError(f"The container engine has no image {image!r}. Build it first.")
        content = self._engine[image]
        repository, digest = own.partition("@")[0].partition(":")[0], _digest_of(content)
        with self._lock:
            self._images[repository, digest] = content
            self._tags[_tagged(own)] = digest
        return f"{self.uri}/{repository}@{digest}"

    def pull(self, name: str, *, engine: Any = None) -> str:
        """Give an image to the engine."""
        repository, digest = self._split(name)
        content = self._images.get((repository, digest or ""))
        if content is None:
            raise ImageNotFoundError(f"The registry {self.uri} has no image {name!r}. Push it first.")
        return self.build(content.decode())

    def digest(self, name: str) -> str | None:
        """The digest of an image."""
        repository, digest = self._split(name)
        return digest if (repository, digest) in self._images else None

    def labels(self, name: str) -> dict[str, str] | None:
        """The label of an image, `text`, which is what it was built with."""
        repository, digest = self._split(name)
        content = self._images.get((repository, digest or ""))
        return None if content is None else {"text": content.decode()}

    def tags(self, repository: str) -> list[str]:
        """The tags in a repository."""
        self.reference(repository)
        with self._lock:
            pairs = [name.split(":") for name in self._tags]
        return sorted(tag for own, tag in pairs if own == repository)

    def delete(self, name: str) -> None:
        """Remove an image with all its tags."""
        repository, digest = self._split(name)
        with self._lock:
            self._images.pop((repository, digest or ""), None)
            for tagged, other in list(self._tags.items()):
                if (tagged.partition(":")[0], other) == (repository, digest):
                    del self._tags[tagged]


def _tagged(own: str) -> str:
    return own if ":" in own else f"{own}:latest"


def _digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(b'manifest of ' + content).hexdigest()}"


class ContainerRegistryContract(ABC):
    r"""What every container registry does.

    Subclass it with two fixtures::

        class TestOurRegistry(ContainerRegistryContract):
            @pytest.fixture
            def container_registry(self):
                return OurRegistry("localhost:5000/tests")  # whose repositories may hold what others left there

            @pytest.fixture
            def make_image(self):
                return lambda text: engine.build(f"FROM scratch\nLABEL text={text}").id

    A third one, `unreachable_registry`, gives the same class with an address where nobody answers.

    Class attributes:
        libraries: Modules that importing the component must leave alone.
    """

    libraries: ClassVar[tuple[str, ...]] = ("docker", "requests", "urllib3", "httpx")

    @pytest.fixture
    @abstractmethod
    def container_registry(self) -> ContainerRegistry:
        """The registry under test."""

    @pytest.fixture
    @abstractmethod
    def make_image(self) -> MakeImage:
        """Makes small images with a text as their label `text`; equal texts give equal images, others give others."""

    @pytest.fixture
    def unreachable_registry(self) -> ContainerRegistry | None:
        """One that does not answer, if there can be such."""
        return None

    @pytest.fixture
    def repository(self, request: pytest.FixtureRequest) -> str:
        """A repository of this test's own."""
        return f"contract/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"

    def test_push_returns_the_reference_by_digest(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """It begins with the registry's uri and ends with the digest, so that it means one image for ever."""
        reference = container_registry.push(make_image("one"), f"{repository}:first")
        expected = rf"{re.escape(container_registry.uri.rstrip('/'))}/{repository}@sha256:[0-9a-f]{{64}}"
        assert re.fullmatch(expected, reference), f"push returned {reference!r}; expected <uri>/{repository}@sha256:…"

    def test_a_tag_has_the_digest_of_what_was_pushed(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """`digest` of a tag, and of the digest itself, is the one in the reference."""
        reference = container_registry.push(make_image("one"), f"{repository}:first")
        digest = reference.partition("@")[2]
        assert container_registry.digest(f"{repository}:first") == digest
        assert container_registry.digest(reference) == digest

    def test_a_pulled_image_is_the_pushed_one(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """By digest and by tag."""
        image = make_image("one")
        reference = container_registry.push(image, f"{repository}:first")
        assert container_registry.pull(reference) == image, "pulled by digest it is another image"
        assert container_registry.pull(f"{repository}:first") == image, "pulled by tag it is another image"

    def test_a_tag_moves_and_a_digest_does_not(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """Pushing another image under a tag moves the tag; the reference to the first image still leads to it."""
        old, new = make_image("old"), make_image("new")
        first = container_registry.push(old, f"{repository}:moving")
        second = container_registry.push(new, f"{repository}:moving")
        assert first != second, "two images have one digest"
        assert container_registry.digest(f"{repository}:moving") == second.partition("@")[2], "the tag did not move"
        assert container_registry.pull(f"{repository}:moving") == new
        assert container_registry.pull(first) == old, "the digest leads to another image since the tag moved"

    def test_equal_images_have_one_digest(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """Whatever they are tagged, and pushed again."""
        image = make_image("one")
        pushed = [container_registry.push(image, f"{repository}:{tag}") for tag in ("a", "b", "a")]
        assert len(set(pushed)) == 1, pushed

    def test_repositories_are_apart(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """A tag in one says nothing of the same tag in another, though that one's name begins alike."""
        container_registry.push(make_image("one"), f"{repository}:only")
        assert container_registry.digest(f"{repository}x:only") is None
        assert container_registry.digest(f"{repository}:onl") is None

    def test_what_was_never_pushed_has_no_digest(self, container_registry: ContainerRegistry, repository: str) -> None:
        """None, not an error: the caller builds it then."""
        assert container_registry.digest(f"{repository}:never") is None
        assert container_registry.digest(f"{repository}@{ABSENT}") is None

    def test_labels_are_read_without_a_pull(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """By tag and by digest, of the image that the name stands for now; None where it stands for none."""
        first = container_registry.push(make_image("first"), f"{repository}:moving")
        container_registry.push(make_image("second"), f"{repository}:moving")
        for name, text in ((f"{repository}:moving", "second"), (first, "first")):
            labels = container_registry.labels(name)
            assert labels is not None, f"{name} was pushed, and its labels are None"
            assert dict(labels).get("text") == text, f"the labels of {name} are another image's"
        for name in (f"{repository}:never", f"{repository}@{ABSENT}", f"{repository}/never:moving"):
            assert container_registry.labels(name) is None, f"{name} was never pushed, and has labels"

    def test_what_was_never_pushed_cannot_be_pulled(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """`ImageNotFoundError`, also where the repository has other images."""
        container_registry.push(make_image("one"), f"{repository}:first")
        for name in (f"{repository}:never", f"{repository}@{ABSENT}", f"{repository}/never:first"):
            with pytest.raises(ImageNotFoundError):
                container_registry.pull(name)

    def test_an_image_that_the_engine_lacks_is_not_pushed(
        self, container_registry: ContainerRegistry, repository: str
    ) -> None:
        """`ImageNotFoundError`, and the tag is not there afterwards."""
        with pytest.raises(ImageNotFoundError):
            container_registry.push(ABSENT, f"{repository}:first")
        assert container_registry.digest(f"{repository}:first") is None, "the tag exists, though nothing was pushed"

    def test_other_names_are_refused(self, container_registry: ContainerRegistry, make_image: MakeImage) -> None:
        """`ValueError` for what is no name, would leave the path of the registry, or is another registry's."""
        image = make_image("one")
        for name in ("", "../other:a", "a//b:c", "Upper:a", "a b:c", "a:", "registry.example.org/a:b", "/a:b"):
            with pytest.raises(ValueError, match="is no image of the registry"):
                container_registry.push(image, name)
            with pytest.raises(ValueError, match="is no image of the registry"):
                container_registry.pull(name)

    def test_many_push_at_once(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """Each gets the digest of its own image, and one of them has the tag."""
        images = [make_image(f"image {number}") for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            pushed = list(pool.map(lambda image: container_registry.push(image, f"{repository}:all"), images))
        assert len(set(pushed)) == len(images), "some got the digest of another's image"
        assert [container_registry.pull(reference) for reference in pushed] == images
        assert container_registry.digest(f"{repository}:all") in {each.partition("@")[2] for each in pushed}

    def test_tags_are_listed_or_refused(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """All of a repository, in order, at once; without the capability `list` a `CapabilityError`."""
        if LIST not in container_registry.capabilities:
            with pytest.raises(CapabilityError, match="list"):
                container_registry.tags(repository)
            return
        assert container_registry.tags(f"{repository}/absent") == []
        for tag in ("beta", "alpha", "1.0"):
            container_registry.push(make_image(tag), f"{repository}:{tag}")
            assert tag in container_registry.tags(repository), f"{tag} was pushed and is not listed"
        container_registry.push(make_image("alpha"), f"{repository}/below:other")
        assert container_registry.tags(repository) == ["1.0", "alpha", "beta"]

    def test_images_are_deleted_or_refused(
        self, container_registry: ContainerRegistry, make_image: MakeImage, repository: str
    ) -> None:
        """With all their tags, and no others; without the capability `delete` a `CapabilityError` and nothing else."""
        kept = container_registry.push(make_image("kept"), f"{repository}:kept")
        gone = container_registry.push(make_image("gone"), f"{repository}:gone")
        container_registry.push(make_image("gone"), f"{repository}:also")
        if DELETE not in container_registry.capabilities:
            with pytest.raises(CapabilityError, match="delete"):
                container_registry.delete(f"{repository}:gone")
            assert container_registry.digest(gone) is not None
            return
        for name in (f"{repository}:gone", f"{repository}:gone", f"{repository}:never"):
            container_registry.delete(name)
        assert [container_registry.digest(each) for each in (gone, f"{repository}:gone", f"{repository}:also")] == [
            None
        ] * 3
        assert container_registry.digest(f"{repository}:kept") == kept.partition("@")[2], (
            "another image is gone as well"
        )
        container_registry.delete(kept)
        assert container_registry.digest(f"{repository}:kept") is None, "deleted by digest it is still there"

    def test_silence_is_told(self, unreachable_registry: ContainerRegistry | None, make_image: MakeImage) -> None:
        """`RegistryUnreachableError`, with the registry's uri, whatever is asked."""
        if unreachable_registry is None:
            pytest.skip("there is no fixture unreachable_registry")
        asked: list[Callable[[], object]] = [
            lambda: unreachable_registry.push(make_image("one"), "a:b"),
            lambda: unreachable_registry.pull("a:b"),
            lambda: unreachable_registry.digest("a:b"),
            lambda: unreachable_registry.labels("a:b"),
        ]
        for ask in asked:
            with pytest.raises(RegistryUnreachableError, match=re.escape(unreachable_registry.uri.partition("/")[0])):
                ask()

    def test_capabilities_are_known(self, container_registry: ContainerRegistry) -> None:
        """Of `list` and `delete`, those it has."""
        assert container_registry.capabilities <= {LIST, DELETE}

    def test_credentials_are_secrets(self, container_registry: ContainerRegistry) -> None:
        """Settings named like credentials are of type `Secret`, and the component does not show what they hold."""
        hidden = re.compile("password|token|secret|credential", re.IGNORECASE)
        settings = {
            field.name: getattr(container_registry, field.name) for field in attrs.fields(type(container_registry))
        }
        plain = [name for name, value in settings.items() if hidden.search(name) and isinstance(value, str)]
        assert not plain, f"{', '.join(plain)} must be a Secret, not a text"
        for secret in (each for each in settings.values() if isinstance(each, Secret)):
            assert secret.resolve() not in repr(container_registry)

    def test_it_is_a_component_of_this_kind(self, container_registry: ContainerRegistry) -> None:
        """A stack takes it as `container_registry`."""
        assert isinstance(container_registry, StackComponent)
        assert container_registry.kind == "container_registry"

    def test_importing_it_is_light(self, container_registry: ContainerRegistry) -> None:
        """Its library is imported when it is used, not when a plugin offers it."""
        module = type(container_registry).__module__
        code = f"import json, sys\nsys.path[:] = {sys.path!r}\nimport {module}\nprint(json.dumps([*sys.modules]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:  # else it is defined in a test module, which only pytest can import
            loaded = set(json.loads(done.stdout.splitlines()[-1]))
            assert not loaded & {*self.libraries}, f"importing {module} imports {loaded & {*self.libraries}}"
