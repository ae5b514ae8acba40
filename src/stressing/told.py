"""``stress.json``: what a run of known changes is told in."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.sessions import Session
from ..evaluation.open_checkpoint import Trained
from ..maps.attribution import Attribution
from ..preprocessing.space.template import template
from .fields import STRUCTURES, field_of, jacobian, regions, volume_of
from .maps import verdict_of
from .plan import ALL, most
from .readers import Readers
from .scans import Opener
from .summary import worth
from .verdicts import overall, verdicts_of

SCHEMA = "stress/1"
_LIBRARIES = ("torch", "numpy", "scipy")
Section = dict[str, Any]


def told(
    readers: Readers,
    trained: Trained,
    opener: Opener,
    placement: Section,
    retest: Section | None,
    sessions: Sequence[Session],
) -> Section:
    """Return the content of ``stress.json``, but for its settings.

    Args:
        readers: Who was asked, and what they said.
        trained: Model and people.
        opener: What was changed.
        placement: Of the scans.
        retest: How far unchanged scans of one person lie apart; None where nobody has two.
        sessions: Who was asked about.
    """
    sections = []
    for reader in readers.each:
        section = reader.summed_up()
        section["verdicts"] = verdicts_of(section)
        section["verdict"] = overall(section["verdicts"])
        section["worth"] = worth(section, ALL)
        sections.append(section)
    people = {session.subject for session in sessions}
    own = readers.each[0].labels
    return {
        "schema": SCHEMA,
        "run": trained.run_name,
        "dataset": trained.data.name,
        "checkpoint": trained.path.name,
        "stamps": list(trained.data.manifest.stamps),
        "changed": opener.changed,
        "why_not_stored": opener.reason,
        "placement": placement,
        "n_people": len(people),
        "n_healthy": int((own == 0).sum()),
        "n_demented": int((own > 0).sum()),
        "retest": retest,
        "structures": [_structure(name) for name in STRUCTURES],
        "verdict": sections[0]["verdict"],
        "readers": sections,
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def with_maps(content: Section, rows: list[Section], attribution: Attribution) -> None:
    """Add to `content` how well maps follow a change, and the verdict on it.

    Args:
        content: From `told`; changed in place.
        rows: From `maps.summed_up`.
        attribution: What made the maps.
    """
    own = content["readers"][0]
    content["maps"] = {
        "method": attribution.method,
        "layers": list(attribution.layers),
        "structures": rows,
    }
    if verdict := verdict_of(rows):
        own["verdicts"].append(verdict)
        content["verdict"] = own["verdict"] = overall(own["verdicts"])


def _structure(name: str) -> Section:
    """Return what the full dose does to a structure of the template."""
    mask = regions()[STRUCTURES[name]]
    field = field_of({name: most(name)})
    before, after = volume_of(mask), volume_of(mask, field)
    return {
        "name": name,
        "region": STRUCTURES[name],
        "before_ml": before,
        "after_ml": after,
        "change_percent": 100 * (after - before) / before,
        "moved_mm": float(np.sqrt((field**2).sum(axis=0)).max()),
        "least_jacobian": float(jacobian(field)[template().brain].min()),
    }
