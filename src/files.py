"""Read what a path names: a regular file, or one sentence that says what is in the way.

A pipe waits for ever and a device never ends, so neither is opened, whatever its name. What the
system refuses (no right, no room, a name too long) becomes a `FileError` that a person can act on.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from .errors import DataNotFoundError, MriError

#: Bytes of a table or a JSON file above which it is none that this project reads.
MOST_TEXT = 1 << 29
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_FULL = "free some space there, then run the same again"
_ELSEWHERE = "name another folder with --results_dir, --checkpoint_dir, --data_root or --cache_dir"
#: What the system calls it -> what is wrong, and what mends it; the others are told as they are.
_REASONS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), ("there is no permission", "")),
    errno.EROFS: ("the disk can only be read", _ELSEWHERE),
    errno.ENOSPC: ("the disk is full", _FULL),
    getattr(errno, "EDQUOT", errno.ENOSPC): ("your share of the disk is used up", _FULL),
    errno.EFBIG: ("the file would be larger than is allowed here", _FULL),
    errno.EISDIR: ("it is a folder", "move the folder away, or name another file"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "look for a mistyped name"),
    errno.EEXIST: ("a file of that name is in the way", "move it away, or name another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter name"),
    errno.ELOOP: ("it is a link that leads to itself", "remove the link"),
    errno.EIO: ("the disk gives an error", "copy the file again, or from another disk"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 4096"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
    errno.ESTALE: ("the network disk has lost it", "mount the disk again"),
    errno.ENOENT: ("a folder on the way to it is gone", "make the folder again, and run the same"),
    errno.ENXIO: ("nothing is behind it", "remove it"),
    errno.ENODEV: ("nothing is behind it", "remove it"),
    errno.EBUSY: ("another program uses it", "end that program"),
    errno.ENOTEMPTY: ("the folder is not empty", "move the folder away"),
}


class FileError(MriError, OSError):
    """The system does not let a file be read or written."""


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as it can be printed anywhere: bytes that are no text are escaped."""
    text = os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_refusal(error: BaseException) -> bool:
    """Return whether the system, and no fault of the program, is behind an error."""
    return isinstance(error, OSError) and error.errno in _REASONS


def file_error(error: OSError, path: str | os.PathLike[str] | None, doing: str) -> FileError:
    """Return what the system refused as a sentence with a remedy.

    Args:
        error: As the system raised it.
        path: Of the file or folder; None takes what the error names.
        doing: ``"read"`` or ``"written"``.
    """
    path = error.filename if path is None else path
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__, ""))
    if error.errno in (errno.EACCES, errno.EPERM) and path is not None:
        right = "u+r" if doing == "read" else "u+rwx"
        hint = f"ask for the right, or take it: chmod {right} {shown(path)}"
        hint += f"; or {_ELSEWHERE}" if doing == "written" else ""
    name = "a file" if path is None else shown(path)
    told = FileError(f"{name} cannot be {doing}: {reason}", hint=hint)
    told.errno, told.strerror, told.filename = error.errno, reason, error.filename
    return told


@contextmanager
def told(path: str | os.PathLike[str] | None, doing: str = "read") -> Iterator[None]:
    """Turn what the system refuses within the block into a `FileError`; see `file_error`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MriError) or error.errno is None:
            raise
        raise file_error(error, path, doing) from None


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        DataNotFoundError: It is not there.
        FileError: It is a folder, a pipe or a device, or the system does not let it be read.
    """
    with told(path):
        try:
            # A pipe without a writer would wait for one.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        except FileNotFoundError:
            raise DataNotFoundError(shown(path)) from None
        except ValueError as error:  # a NUL in the name
            raise FileError(f"{shown(path)} cannot be read: {error}") from None
        try:
            _refuse_others(path, os.fstat(number).st_mode)
            return os.fdopen(number, "rb")
        except BaseException:
            os.close(number)
            raise


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def require_file(path: str | os.PathLike[str]) -> None:
    """Raise, as `open_file` does, unless a library may be given the path to open itself."""
    open_file(path).close()


def _refuse_others(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kind = next((name for asked, name in _KINDS if asked(mode)), "no file")
    raise FileError(f"{shown(path)} is {kind}, not a file", hint="move it away, or name another")


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: Of the file.
        most: Bytes above which it is refused before they are read.

    Raises:
        DataNotFoundError, FileError: As `open_file`; or it is larger.
    """
    with open_file(path) as file, told(path):
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise FileError(f"{shown(path)} has {size:,} bytes, and {most:,} are the most")
        return file.read()


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """Return a regular file's text, of at most `MOST_TEXT` bytes.

    Raises:
        DataNotFoundError, FileError: As `read_bytes`.
        UnicodeDecodeError: It is no such text.
    """
    return read_bytes(path, MOST_TEXT).decode(encoding)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataNotFoundError, FileError: As `read_bytes`.
        ValueError: It is no JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def stream(path: str | os.PathLike[str]) -> io.BytesIO:
    """Return a text file's bytes for a parser that wants a file; raises as `read_bytes`."""
    return io.BytesIO(read_bytes(path, MOST_TEXT))
