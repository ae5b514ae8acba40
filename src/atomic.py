"""Write-then-rename: a file is there whole, or not at all, whenever a process is killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import MriError
from .files import file_error, is_refusal, told

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST = 200  # bytes of a name that a temporary one may carry; file systems take 255
_WRITERS = 9  # processes that write one file at once, each into a temporary file with a number
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
#: What a library may hide behind an error of its own: the disk cannot take more.
_HIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_file(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    The temporary file of a killed process is used again by the next that writes the same file, so
    none piles up.

    Args:
        path: Final place; missing parent folders are made.
        mode: ``"wb"`` or ``"w"`` (UTF-8).

    Yields:
        The open file. When the block raises, nothing stays behind.

    Raises:
        FileError: The system does not let it be written: no right, no room, a folder in its place.
    """
    path = Path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    with told(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _temporary(path)
    try:
        with os.fdopen(descriptor, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            temporary.chmod(0o644)  # it is made for its owner alone: a group could not read it
            if fcntl is not None:  # while it is locked, so that nobody else takes it
                temporary.replace(path)
        if fcntl is None:
            temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _raise_told(error, path, temporary)
        raise


def write_json(path: str | Path, content: Any) -> Path:
    """Write `content` as indented JSON, with NaN refused so that every reader can parse it."""
    path = Path(path)
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_file(path, "w") as file:
        file.write(text)
    return path


def _temporary(path: Path) -> tuple[int, Path]:
    """Open a temporary file of `path`, empty: one that no living process holds, if one is left."""
    name = os.fsencode(path.name)
    stem = path.name
    if len(name) > _LONGEST:  # it could not be made longer
        stem = hashlib.blake2b(name, digest_size=16).hexdigest()
    if fcntl is not None:
        for number in range(_WRITERS):
            temporary = path.with_name(f".{stem}.{number}.part")
            descriptor = _locked(temporary)
            if descriptor is not None:
                _remove_left(path.with_name(f".{stem}.{number + 1}.part"))
                return descriptor, temporary
    descriptor, found = tempfile.mkstemp(dir=path.parent, prefix=f".{stem}.", suffix=".part")
    return descriptor, Path(found)


def _locked(temporary: Path) -> int | None:
    """Open a file, empty, and lock it; the lock dies with its owner.

    Returns:
        A descriptor; None where another process holds it, or the file system knows no locks.

    Raises:
        OSError: It cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(temporary, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if temporary.stat().st_ino == os.fstat(descriptor).st_ino:  # and not renamed meanwhile
            os.ftruncate(descriptor, 0)
            return descriptor
    except OSError as error:
        if not isinstance(error, BlockingIOError | FileNotFoundError) and (
            error.errno not in _NO_LOCKS
        ):
            os.close(descriptor)
            raise
    os.close(descriptor)
    return None


def _remove_left(temporary: Path) -> None:
    """Remove what one of two writers left that were killed together."""
    if temporary.exists():
        descriptor = _locked(temporary)
        if descriptor is not None:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)


def _raise_told(error: BaseException, path: Path, temporary: Path) -> None:
    """Raise what the system refused as a sentence, also where a library hides it, or a wish to end.

    torch turns whatever a write raises into a RuntimeError that speaks of positions. An error that
    names another file is that file's, and stays what it is.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(error, MriError | KeyboardInterrupt):
        if isinstance(seen, KeyboardInterrupt):
            raise seen from None
        own = isinstance(seen, OSError) and seen.filename in (None, str(temporary))
        if own and is_refusal(seen) and (seen is error or seen.errno in _HIDDEN):
            raise file_error(seen, path, "written") from None
        seen = seen.__cause__ or seen.__context__
