"""Files, read and written: only regular ones, whole or not at all, or one sentence why not.

A pipe waits for ever and a device never ends, so neither is opened, whatever its name. What the
system refuses (no right, no room, a name too long) becomes a `FileError` that a person can act on.
What is written is renamed to its place when it is whole, whenever a process is killed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import DataNotFoundError, MriError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Beyond it a whole number of a JSON file or a table is not the one that was written.
LARGEST_WHOLE = 2**53
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

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_LONGEST = 200  # bytes of a name that a temporary one may carry; file systems take 255
_WRITERS = 9  # processes that write one file at once, each into a temporary file with a number
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_ROOM = 50_000_000  # bytes that must be free before work begins
#: What a library may hide behind an error of its own: the disk cannot take more.
_HIDDEN = (errno.EIO, errno.EROFS, *(n for n, (_, hint) in _REASONS.items() if hint == _FULL))


class FileError(MriError, OSError):
    """The system does not let a file be read or written."""


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as it can be printed anywhere: bytes that are no text are escaped."""
    text = os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_text(name: str) -> bool:
    """Return whether the bytes of a file's name are UTF-8; the others come as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def file_error(error: OSError, path: str | os.PathLike[str] | None, doing: str) -> FileError:
    """Return what the system refused as a sentence with a remedy.

    Args:
        error: As the system raised it.
        path: Of the file or folder; None takes what the error names.
        doing: ``"read"``, ``"written"`` or ``"used"``.
    """
    path = error.filename if path is None else path
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__, ""))
    if error.errno in (errno.EACCES, errno.EPERM) and path is not None:
        right = "u+r" if doing == "read" else "u+rwx"
        hint = f"ask for the right, or take it: chmod {right} {shown(path)}"
        hint += f"; or {_ELSEWHERE}" if doing == "written" else ""
    name = "a file" if path is None else shown(path)
    sentence = FileError(f"{name} cannot be {doing}: {reason}", hint=hint)
    sentence.errno, sentence.strerror, sentence.filename = error.errno, reason, error.filename
    return sentence


@contextmanager
def told(path: str | os.PathLike[str] | None, doing: str = "read") -> Iterator[None]:
    """Turn what the system refuses within the block into a `FileError`; see `file_error`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MriError) or error.errno is None:
            raise
        raise file_error(error, path, doing) from error


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
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
        # A name that is no text can stand in a text: JSON's readers get it back as it was.
        errors = None if encoding is None else "backslashreplace"
        with os.fdopen(descriptor, mode, -1, encoding, errors, newline) as file:
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
    for number in range(_WRITERS):
        temporary = path.with_name(f".{stem}.{number}.part")
        try:
            descriptor = _locked(temporary)
        except _NoLocksError:
            break
        if descriptor is not None:
            _remove_left(path.with_name(f".{stem}.{number + 1}.part"))
            return descriptor, temporary
    descriptor, found = tempfile.mkstemp(dir=path.parent, prefix=f".{stem}.", suffix=".part")
    return descriptor, Path(found)


def _locked(temporary: Path) -> int | None:
    """Open a file, empty, and lock it; the lock dies with its owner.

    Returns:
        A descriptor; None where another process holds it.

    Raises:
        _NoLocksError: The system, or its file system, knows no locks.
        OSError: It cannot be opened.
    """
    if fcntl is None:
        raise _NoLocksError
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(temporary, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if temporary.stat().st_ino == os.fstat(descriptor).st_ino:  # and not renamed meanwhile
            os.ftruncate(descriptor, 0)
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            raise _NoLocksError from error
        raise
    os.close(descriptor)
    return None


class _NoLocksError(Exception):
    """Nothing can be locked here."""


@contextmanager
def sole_writer(lock: Path, what: str, hint: str, patience: float = 0.0) -> Iterator[None]:
    """Be the only process that writes something while the block runs; a killed one does not count.

    Where the file system knows no locks, nothing is held.

    Args:
        lock: A file that stands for it; it is there while the block runs.
        what: What is written, in words.
        hint: What to do beside waiting, in words.
        patience: Seconds to wait for another process.

    Raises:
        FileError: Another process writes it.
    """
    until, new = time.monotonic() + patience, not lock.parent.exists()
    wait = f"wait until it has ended, or {hint}"
    try:
        with told(lock, "written"):
            lock.parent.mkdir(parents=True, exist_ok=True)
            while (descriptor := _locked(lock)) is None:
                if time.monotonic() >= until:
                    raise FileError(f"another process{_owner(lock)} is writing {what}", hint=wait)
                time.sleep(0.2)
    except _NoLocksError:
        yield
        return
    try:
        os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)
        if new and not any(lock.parent.iterdir()):  # nothing came of it
            lock.parent.rmdir()


def _owner(lock: Path) -> str:
    try:
        return f" ({shown(read_text(lock))})"
    except (OSError, ValueError):  # it has just ended
        return ""


def require_writable(folder: Path) -> None:
    """Raise unless `folder` can be written, or made, and its disk has some room.

    Raises:
        FileError: It cannot.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise FileError(
            f"{shown(folder)} cannot be a folder: {shown(there)} is a file",
            hint="name another with --results_dir or --checkpoint_dir, or move the file away",
        )
    with told(folder, "written"):
        tempfile.TemporaryFile(dir=there).close()
        free = shutil.disk_usage(there).free
    if free < _ROOM:
        raise FileError(
            f"only {free / 1e6:.0f} MB are free where {shown(folder)} is written", hint=_FULL
        )


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
        if isinstance(seen, OSError) and seen.filename in (None, str(temporary)):
            hidden = seen is not error
            if seen.errno in (_HIDDEN if hidden else _REASONS):
                raise file_error(seen, path, "written") from None
        seen = seen.__cause__ or seen.__context__
