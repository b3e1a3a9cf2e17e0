"""Prints what is installed where it runs, as JSON: run by the build of an image, in it, where Drystone may be none."""

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import urlsplit


def inventory() -> dict[str, object]:
    """The minor version of Python, and of each distribution the version, by its name in lower case with `-`."""
    found = [(each.metadata["Name"], each.version) for each in distributions()]
    # Of two of one name the first is imported.
    packages = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in reversed(found) if name}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "packages": dict(sorted(packages.items()))}


def forget_origins(site: Path) -> None:
    """Remove what tells where distributions came from, if that is the build's folder or has credentials in it."""
    for file in site.glob("*.dist-info/direct_url.json"):
        url = urlsplit(json.loads(file.read_text())["url"])
        if url.scheme == "file" or "@" in url.netloc:
            file.unlink()


if __name__ == "__main__":
    for site in Path(sys.prefix).glob("lib/python*/site-packages"):
        forget_origins(site)
    sys.stdout.write(json.dumps(inventory()))
