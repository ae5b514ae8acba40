"""Files that do not fit a set's naming and hold the bytes of one that does: ``27 - Copy.jpg``.

Browsers and file managers write a second copy under a new name. The content tells, not the name:
``27 (4).jpg`` may be a copy, and may be slice 27 of person 4.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import counted
from ..files import read_bytes

logger = logging.getLogger(__name__)


def find_copies(
    root: str | Path,
    paths: Sequence[str],
    stages: Sequence[str | None],
    odd: Collection[int],
) -> dict[int, int]:
    """Return each odd file that is a copy -> the file of its class that it copies.

    Only odd and regular files of one size are opened.

    Args:
        root: Folder of `paths`.
        paths: Of all files.
        stages: Class of each.
        odd: Numbers of the files that do not fit the naming; they are no originals.
    """
    if not odd:
        return {}
    root = Path(root)
    unlike, sizes = set(odd), [(root / path).stat().st_size for path in paths]
    regular = {size for i, size in enumerate(sizes) if i not in unlike}
    sought = {sizes[i] for i in unlike} & regular
    keys = {
        i: (stages[i], hashlib.sha256(read_bytes(root / path)).digest())
        for i, path in enumerate(paths)
        if sizes[i] in sought
    }
    originals = {keys[i]: i for i in sorted(keys, reverse=True) if i not in unlike}
    copies = ((i, keys.get(i)) for i in sorted(unlike))
    return {i: originals[key] for i, key in copies if key in originals}


def tell_copies(root: Path, paths: Sequence[str], copies: Mapping[int, int]) -> None:
    """Log how many copies are left out, and the first with its original."""
    if copies:
        copy, original = next(iter(copies.items()))
        logger.warning(
            "%s: left out %s of other files, such as %s, which has the bytes of %s",
            *(root, counted(len(copies), "copy", "copies"), paths[copy], paths[original]),
        )
