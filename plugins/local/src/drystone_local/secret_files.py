"""Secrets that stand in files of this machine, as Docker and Kubernetes mount them."""

from __future__ import annotations

from pathlib import Path


def secret_in_file(name: str) -> str:
    """The text of a file, without the newline at its end.

    Args:
        name: Its path: absolute, or in the user's home directory, as `~/.config/team/key`.

    Raises:
        LookupError: It cannot be read; says why.
    """
    path = Path(name).expanduser()
    if not path.is_absolute():
        raise LookupError(f"{name!r} depends on the working directory. Write the whole path, or begin with ~/.")
    try:
        return path.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise LookupError(f"the file {path} cannot be read: {reason}.") from exc
