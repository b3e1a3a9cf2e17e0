"""A team on a bucket while everything goes wrong: the network, the machines, the server. Nothing is lost or double.

Two drivers run a pipeline at once, each on a machine of its own, through a proxy that spoils some of what passes. At
random moments a driver or the server is killed; the server is started again on the data that it had. Then a third
machine takes the dead for dead, goes on with what they left, and checks all laws.

`DRYSTONE_CHAOS_ROUNDS=100` makes a hundred rounds, `DRYSTONE_CHAOS_SEED` others than those that are made by default.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone.digests import digest_bytes
from services.forks import Fork
from services.proxies import Proxy, weather
from services.seaweed import S3Server
from services.teams import Team, ended

ROUNDS = int(os.environ.get("DRYSTONE_CHAOS_ROUNDS", "8"))
SEED = int(os.environ.get("DRYSTONE_CHAOS_SEED", "20261124"))

FRESH = 5
"""Rounds after which a new workspace is begun."""

PATIENCE = 120.0
"""Seconds that a driver may take, with a server that is away for some of them."""

CHAIN = """
import sys
from typing import Annotated

from drystone import Model, Workspace, log_metadata, pipeline, save_artifact, step


@step
def first(salt: int) -> Annotated[int, "one"]:
    return salt


@step
def second(x: int) -> tuple[Annotated[list[int], "two"], Annotated[bytes, "bytes"]]:
    log_metadata({"x": x})
    return list(range(x, x + 1000)), bytes([x % 256]) * (20_000_000 if x % 5 == 0 else 300_000)  # the one in parts


@step
def third(xs: list[int], data: bytes) -> Annotated[int, "three"]:
    save_artifact({"sum": sum(xs)}, "side")
    return sum(xs) + len(data)


@step
def fourth(x: int, salt: int) -> Annotated[str, "four"]:
    return f"{x}-{salt}"


@pipeline(model=Model("chains"))
def chain(salt: int):
    xs, data = second(first(salt))
    return fourth(third(xs, data), salt)


if __name__ == "__main__":
    run = chain(salt=int(sys.argv[1]))
    print(run.name, run.output.load())
    Workspace.current().promote("chains", run.model_version, "production")
"""


def expected(salt: int) -> str:
    """What a chain with this salt makes."""
    return f"{sum(range(salt, salt + 1000)) + (20_000_000 if salt % 5 == 0 else 300_000)}-{salt}"


@attrs.define
class Chaos:
    """A server, a proxy before it, and the dice."""

    folder: Path
    server: S3Server
    proxy: Proxy
    dice: random.Random
    team: Team = attrs.field(init=False)
    bucket: str = ""
    said: dict[str, str] = attrs.field(factory=dict)
    counts: dict[str, int] = attrs.field(factory=dict)

    def begin(self, number: int) -> None:
        """A new bucket with a new workspace."""
        self.bucket, self.said = self.server.make_bucket(), {}
        project = self.folder / f"project-{number}"
        project.mkdir()
        (project / "pyproject.toml").write_text("")
        (project / "chain.py").write_text(CHAIN)
        self.team = Team.on_bucket(project, self.proxy.url, self.bucket)

    def round(self, number: int) -> None:
        """One round: two drivers, some deaths, and what is there afterwards."""
        salts = self.dice.choice([(number, number), (2 * number, 2 * number + 1)])
        self.proxy.rules = weather(self.dice.choice([0.0, 0.05, 0.2]))
        drivers = [self.team.fork(f"machine-{n}", "chain.py", str(salt)) for n, salt in enumerate(salts)]
        with ended(*drivers):
            self.strike(drivers, self.dice.choice([(), (0,), (1,), (0, 1), ("server",), ("server", 0)]))
            told = [driver.communicate(timeout=PATIENCE) for driver in drivers]
        for driver, salt, (out, err) in zip(drivers, salts, told, strict=True):
            self.hear(driver.returncode, salt, out, err)
        self.look()

    def strike(self, drivers: list[Fork], victims: tuple[Any, ...]) -> None:
        """Kill some, each after a number of objects that were stored, or tried to be."""
        begun = len(self.proxy.traffic.exchanges)
        moments = sorted((self.dice.randrange(3, 30), str(victim), victim) for victim in victims)
        for moment, _, victim in moments:
            until(
                lambda moment=moment: self.passed(begun) >= moment or all(each.poll() is not None for each in drivers)
            )
            self.count(f"killed {victim}")
            if victim == "server":
                self.server.kill()
                self.server.start()
            else:
                drivers[victim].kill()

    def passed(self, begun: int) -> int:
        return sum(each.method == "PUT" for each in self.proxy.traffic.exchanges[begun:])

    def hear(self, code: int, salt: int, out: str, err: str) -> None:
        """What a driver says must be so; if it fails it says why, and not in words of others."""
        if code > 0:
            last = err.rstrip().splitlines()[-1]
            assert re.match(r"drystone\.errors\.\w+: ", last), err
            self.count(last.split(":")[0])
        elif code == 0:
            self.count("went well")
        for line in out.splitlines():
            name, value = line.split()
            assert value == expected(salt)
            self.said[name] = value

    def look(self) -> None:
        """What a third machine finds, after it went on with everything."""
        with self.proxy.calm(), ended(self.team.fork("observer", "-m", "services.laws")) as observer:
            out, err = observer.communicate(timeout=PATIENCE)
        assert observer.returncode == 0, err
        found = json.loads(out)
        for name, (before, parameters, value) in found.items():
            assert value == expected(parameters["salt"])
            assert before == "succeeded" or name not in self.said, "what was told as done is done"
            self.count(f"run was {before}")
        assert self.said.keys() <= found.keys(), "nothing is lost"
        for key, data in self.objects("artifacts/blobs/"):
            assert digest_bytes(data) == key.rpartition("/")[2], "no half artifact is visible"

    def objects(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """What is stored, as the server has it."""
        client = self.server.administration
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                yield each["Key"], client.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read()

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def until(condition: Callable[[], bool]) -> None:
    """Wait for something."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def chaos(tmp_path: Path, own_s3_server: Callable[..., S3Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    server = own_s3_server()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.admin.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.admin.secret)
    monkeypatch.setenv("DRYSTONE_AUTHOR", "tester@example.org")
    with Proxy(server.endpoint_url, seed=SEED) as proxy:
        yield Chaos(tmp_path, server, proxy, random.Random(SEED))


def test_nothing_is_lost_and_nothing_is_double(chaos: Chaos) -> None:
    print(f"DRYSTONE_CHAOS_SEED={SEED}")
    for number in range(ROUNDS):
        if number % FRESH == 0:
            chaos.begin(number)
        print(f"round {number}")
        chaos.round(number)
    print(chaos.counts)
    assert sum(count for what, count in chaos.counts.items() if what.startswith("killed")) > ROUNDS / 2
