"""Damage that knows a format: header fields, chunks, cells, branches of JSON, members of a zip.

Each is made from the valid file's own format, so what it makes passes the first checks of a reader.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import numpy as np

from .family import Mutation
from .mutations import flip_bits, number_in_text

_INTEGERS = (0, 1, -1, 2, 3, 7, 8, 255, 256, 32767, -32768, 2**31 - 1, -(2**31), 2**62, -(2**63))
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 1e-38, -1.0, 0.5, 1e9)


def header_field(fields: np.dtype[Any]) -> Mutation:
    """Return a mutation that sets a field of a binary header to an extreme.

    Args:
        fields: A structured type: names, types and places of the header's fields.
    """

    def change(rng: Random, data: bytes) -> bytes:
        if len(data) < fields.itemsize:
            return flip_bits(rng, data)
        header = np.frombuffer(data[: fields.itemsize], fields).copy()
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(fields.names or ())
            values = header[name].reshape(-1)
            at = rng.randrange(len(values))
            values[at] = _extreme(rng, values.dtype)
            header[name] = values.reshape(header[name].shape)
        return header.tobytes() + data[fields.itemsize :]

    change.__name__ = "header_field"
    return change


def _extreme(rng: Random, kind: np.dtype[Any]) -> Any:
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return min(max(rng.choice(_INTEGERS), int(limits.min)), int(limits.max))
    if kind.kind == "f":
        return rng.choice(_FLOATS)
    return rng.randbytes(kind.itemsize or 1)


def in_gzip(mutation: Mutation) -> Mutation:
    """Return the same mutation of what a gzip file holds."""

    def change(rng: Random, data: bytes) -> bytes:
        try:
            inside = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return flip_bits(rng, data)
        return gzip.compress(mutation(rng, inside), compresslevel=1, mtime=0)

    change.__name__ = f"in_gzip_{mutation.__name__}"
    return change


def in_zip(mutation: Mutation) -> Mutation:
    """Return the same mutation of a member of a zip archive; or a member is left out, or twice."""

    def change(rng: Random, data: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(one, archive.read(one)) for one in archive.namelist()]
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error, RuntimeError):
            return flip_bits(rng, data)
        if not members:  # an archive from which all was taken before
            return flip_bits(rng, data)
        at = rng.randrange(len(members))
        kind = rng.random()
        if kind < 0.1:
            members.pop(at)
        elif kind < 0.2:
            members.append(members[at])
        else:
            members[at] = (members[at][0], mutation(rng, members[at][1]))
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return target.getvalue()

    change.__name__ = f"in_zip_{mutation.__name__}"
    return change


def png_chunk(rng: Random, data: bytes) -> bytes:
    """Change size, depth or colours of a PNG's header, drop or repeat a chunk; sums are right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        if size > len(data):
            break
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks or len(chunks[0][1]) != 13:
        return flip_bits(rng, data)
    kind, place = rng.random(), rng.randrange(len(chunks))
    if kind < 0.6:
        head = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        field = rng.randrange(7)
        top = 2**31 if field < 2 else 16
        head[field] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 4096, 65535, 100_000, top)) % (
            2**32 if field < 2 else 256
        )
        chunks[0] = (chunks[0][0], struct.pack(">IIBBBBB", *head))
    elif kind < 0.8:
        chunks.pop(place)
    else:
        chunks.insert(place, chunks[place])
    made = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return data[:8] + b"".join(made)


def jpeg_size(rng: Random, data: bytes) -> bytes:
    """Change size, depth or number of colours in a JPEG's frame header."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    if at < 0 or at + 10 > len(data):
        return flip_bits(rng, data)
    changed = bytearray(data)
    place, size = rng.choice(((4, 1), (5, 2), (7, 2), (9, 1)))
    value = rng.choice((0, 1, 2, 3, 4, 12, 255, 256, 4096, 65535)) % 256**size
    changed[at + place : at + place + size] = value.to_bytes(size, "big")
    return bytes(changed)


_SHAPES = (
    *("()", "(0,)", "(-1, 8, 8)", "(2, 3)", "(10**9, 10**9, 10**9)", "(4611686018427387904,)"),
    *("(1, 1, 1)", "(65536, 65536, 1)", "('a',)", "(8.0, 8, 8)", "(8, 8, 8, 1)", "(1<<40,)"),
)


def npy_header(rng: Random, data: bytes) -> bytes:
    """Write another type, shape or order into the header of a ``.npy`` file."""
    if data[:6] != b"\x93NUMPY" or len(data) < 10:
        return flip_bits(rng, data)
    size = struct.unpack("<H", data[8:10])[0]
    dtype = rng.choice(("<f2", "<f4", ">f8", "|O", "<U9", "|V4", "<c16", "<i8", "|b1", "<M8[s]"))
    order = rng.choice(("True", "False", "1", "None"))
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {rng.choice(_SHAPES)}, }}"
    header = text.encode().ljust(max(size, len(text)), b" ")[:65000]
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x09"))
    return data[:6] + version + struct.pack("<H", len(header)) + header + data[10 + size :]


_CELLS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "1e309", "-1", "0", "1.5", "0,5", "9" * 400, "1e-400"),
    *("\x00", "\x1b[2J", "\r", "a\nb", '"', '""', "'", "=1+1", "\u202e", "\ufeff", "\ud83d", "é"),
    *("x" * 70_000, "../../etc", "/dev/zero", "A" * 300, ".", "N/A", "true", "1" * 20, "٣", "½"),
    *("Demented", "train", "M", "F", "99", "125", "126", "30", "31", "OAS1_0001_MR1", "sub-01"),
)
_CODES = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32", "utf-7")


def table_cells(rng: Random, data: bytes) -> bytes:
    """Change cells, rows, columns, separators, line ends or the encoding of a table."""
    text = data.decode("utf-8", "replace")
    tab = "\t" if "\t" in text[:2000] else ","
    try:
        rows = list(csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=tab))
    except csv.Error:
        rows = []
    if not rows:
        return flip_bits(rng, data)
    del rows[500:]
    for _ in range(rng.choice((1, 1, 3))):
        rng.choice(_TABLE)(rng, rows)
    separator = rng.choice((tab, tab, tab, ";", ",", "\t", "|", " "))
    end = rng.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    lines = [separator.join(_quoted(cell, separator) for cell in row) for row in rows]
    code = rng.choice(_CODES) if rng.random() < 0.3 else "utf-8"
    return (end.join(lines) + end).encode(code, "replace")


def _quoted(cell: str, separator: str) -> str:
    wild = any(mark in cell for mark in (separator, '"', "\n", "\r"))
    return '"' + cell.replace('"', '""') + '"' if wild else cell


def _set_cell(rng: Random, rows: list[list[str]]) -> None:
    row = rng.choice(rows)
    if row:
        row[rng.randrange(len(row))] = rng.choice(_CELLS)


def _repeat_row(rng: Random, rows: list[list[str]]) -> None:
    rows.insert(rng.randrange(len(rows) + 1), list(rng.choice(rows)))


def _drop_row(rng: Random, rows: list[list[str]]) -> None:
    if len(rows) > 1:
        rows.pop(rng.randrange(len(rows)))


def _repeat_column(rng: Random, rows: list[list[str]]) -> None:
    at = rng.randrange(max(len(rows[0]), 1))
    for row in rows:
        row.extend(row[at : at + 1])


def _drop_column(rng: Random, rows: list[list[str]]) -> None:
    at = rng.randrange(max(len(rows[0]), 1))
    for row in rows:
        del row[at : at + 1]


def _fill_column(rng: Random, rows: list[list[str]]) -> None:
    at, value = rng.randrange(max(len(rows[0]), 1)), rng.choice(_CELLS)
    for row in rows[1:]:
        row[at : at + 1] = [value]


def _uneven_row(rng: Random, rows: list[list[str]]) -> None:
    rng.choice(rows).extend([rng.choice(_CELLS)] * rng.choice((1, 2, 500)))


def _swap_rows(rng: Random, rows: list[list[str]]) -> None:
    a, b = rng.randrange(len(rows)), rng.randrange(len(rows))
    rows[a], rows[b] = rows[b], rows[a]


def _empty_rows(rng: Random, rows: list[list[str]]) -> None:
    rows.insert(rng.randrange(len(rows) + 1), [])


def _head_only(rng: Random, rows: list[list[str]]) -> None:
    del rows[1:]


_TABLE = (
    *(_set_cell, _set_cell, _set_cell, _repeat_row, _drop_row, _repeat_column, _drop_column),
    *(_fill_column, _uneven_row, _swap_rows, _empty_rows, _head_only),
)

_LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 1e308, 10**400, "", "x", "x" * 5000, [], {}, [[]], [None]),
    *("../../etc/passwd", "/dev/zero", "a\x00b", "\x1b[31m", "NaN", {"a": 1}, [1, "a"], "<script>"),
    *(-(10**18), 2**63, float("nan"), float("inf"), "\ud800", [1.0] * 1000, "2d", "3d"),
)


def json_branch(rng: Random, data: bytes) -> bytes:
    """Replace, drop, rename or add a branch of a JSON file; or nest it deep."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return number_in_text(rng, data)
    if rng.random() < 0.02:
        return b"[" * 100_000 + b"]" * 100_000
    for _ in range(rng.choice((1, 1, 1, 2))):
        content = change_branch(rng, content, _LEAVES)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def change_branch(rng: Random, content: Any, leaves: tuple[Any, ...]) -> Any:
    """Return nested lists and dictionaries with one place changed.

    Args:
        rng: Chooses.
        content: What is changed, and returned unless it is replaced whole.
        leaves: What may be put there.
    """
    if not isinstance(content, dict | list) or not content or rng.random() < 0.02:
        return rng.choice(leaves)
    key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    if isinstance(content[key], dict | list) and content[key] and rng.random() < 0.75:
        content[key] = change_branch(rng, content[key], leaves)
        return content
    kind = rng.random()
    if kind < 0.65:
        content[key] = rng.choice(leaves)
    elif kind < 0.8:
        del content[key]
    elif isinstance(content, dict):
        content[rng.choice(("", "x", "schema", f"{key} "))] = content.pop(key)
    else:
        content.extend([content[key]] * rng.choice((1, 3)))
    return content
