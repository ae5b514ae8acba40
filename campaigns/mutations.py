"""What is done to a file whose format is not known, and what is put in its place."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from random import Random

from .family import Family, Mutation

_PIECE = 4096  # bytes that are repeated or moved at most
_NUMBERS = (
    *(b"0", b"-1", b"-0", b"1e309", b"-1e309", b"NaN", b"Infinity", b"2147483648"),
    *(b"9223372036854775808", b"9" * 30, b"9" * 5000, b"1e-320", b"0x10", b"1_000", b"0,5", b""),
)
_KINDS = (
    *(b"", b"\0" * 4096, b"{}", b"[]", b"null", b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG\r\n"),
    *(b"\xff\xd8\xff\xe0", b"a,b\n1,2\n", b"\x93NUMPY", b"#!/bin/sh\n", b"\xef\xbb\xbf"),
)
_IN_DIGITS = re.compile(rb"\d+(?:\.\d+)?")


def flip_bits(rng: Random, data: bytes) -> bytes:
    """Turn up to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_first_bits(rng: Random, data: bytes) -> bytes:
    """Turn a bit of the first 512 bytes, where formats have their headers."""
    start, rest = data[:512], data[512:]
    return flip_bits(rng, start) + rest


def cut_short(rng: Random, data: bytes) -> bytes:
    """Leave out the end."""
    return data[: rng.randrange(len(data) + 1)]


def cut_out(rng: Random, data: bytes) -> bytes:
    """Leave out a piece."""
    at, size = rng.randrange(len(data) + 1), rng.randrange(_PIECE)
    return data[:at] + data[at + size :]


def repeat_piece(rng: Random, data: bytes) -> bytes:
    """Put a piece in twice, or the whole file."""
    if rng.random() < 0.2:
        return data + data
    at, size = rng.randrange(len(data) + 1), rng.randrange(_PIECE)
    return data[: at + size] + data[at : at + size] + data[at + size :]


def move_piece(rng: Random, data: bytes) -> bytes:
    """Copy a piece over another place."""
    size = rng.randrange(1, _PIECE)
    source, target = (rng.randrange(len(data) + 1) for _ in range(2))
    piece = data[source : source + size]
    return data[:target] + piece + data[target + len(piece) :]


def write_noise(rng: Random, data: bytes) -> bytes:
    """Write random bytes over a piece."""
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 64))
    return data[:at] + rng.randbytes(size) + data[at + size :]


def write_one_byte_often(rng: Random, data: bytes) -> bytes:
    """Write zeros, or 255, over a piece."""
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 64, 1024))
    return data[:at] + rng.choice((b"\0", b"\xff")) * size + data[at + size :]


def other_content(rng: Random, data: bytes) -> bytes:
    """Put something of another kind there."""
    return rng.choice(_KINDS) + (rng.randbytes(rng.randrange(600)) if rng.random() < 0.3 else b"")


def number_in_text(rng: Random, data: bytes) -> bytes:
    """Write an extreme in place of a number that is written in digits."""
    found = list(_IN_DIGITS.finditer(data[:200_000]))
    if not found:
        return flip_bits(rng, data)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(_NUMBERS) + data[one.end() :]


ANY: tuple[Mutation, ...] = (
    *(flip_bits, flip_first_bits, cut_short, cut_out, repeat_piece, move_piece, write_noise),
    *(write_one_byte_often, other_content),
)


def mutate(rng: Random, data: bytes, family: Family) -> tuple[bytes, list[str]]:
    """Return other content, and the names of what was done: mostly one thing, and by shape."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        shaped = family.known_only or (bool(family.shapes) and rng.random() < 0.7)
        mutation = rng.choice(family.shapes if shaped else ANY)
        data = mutation(rng, data)
        done.append(mutation.__name__)
    return data, done


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"")


def _nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("is not there"))


def _itself(path: Path) -> None:
    path.symlink_to(path.name)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _gone(path: Path) -> None:
    """Leave nothing in its place."""


PLACES = (_pipe, _endless, _folder, _nowhere, _itself, _empty, _gone)


def replace_place(rng: Random, path: Path) -> tuple[Path, str]:
    """Put something that is no such file in a file's place, or give it a name that is no UTF-8.

    Returns:
        Where the input is now, and what was done.
    """
    if rng.random() < 0.15:
        name = os.fsencode(path.name)
        other = path.parent / os.fsdecode(b"\xff\xfe-" + name)
        shutil.move(path, other)
        return other, "name that is no UTF-8"
    place = rng.choice(PLACES)
    path.unlink()
    place(path)
    return path, place.__name__.strip("_")
