"""Write-then-rename: a file is there whole, or not at all, whenever a process is killed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_file(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    Args:
        path: Final place; missing parent folders are made.
        mode: ``"wb"`` or ``"w"`` (UTF-8).

    Yields:
        The open file. When the block raises, nothing stays behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, mode, encoding=encoding, newline=newline) as file:
            yield file
        temporary.chmod(0o644)  # mkstemp makes 0600, which a group could not read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> Path:
    """Write `content` as indented JSON, with NaN refused so that every reader can parse it."""
    path = Path(path)
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_file(path, "w") as file:
        file.write(text)
    return path
