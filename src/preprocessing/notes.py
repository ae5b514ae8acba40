"""What was noticed on reading scans, counted by its kind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ..errors import counted

logger = logging.getLogger(__name__)


def tell_notes(notes: Mapping[str, Sequence[str]], scans: int) -> None:
    """Log each kind of note once: of how many scans it speaks, and of the first what it says.

    Args:
        notes: Name of a scan -> its notes; their kind is what stands before the first colon.
        scans: How many there are in all.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(notes):
        for note in notes[name]:
            kinds.setdefault(note.partition(":")[0], []).append((name, note))
    for found in kinds.values():
        name, note = found[0]
        several = counted(scans, "scan")
        logger.warning("noticed in %d of %s, such as %s: %s", len(found), several, name, note)
