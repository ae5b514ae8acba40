"""Features of a frozen backbone that keep where in the head they were seen.

A person's mean over slices forgets which slice said what. Here neighbouring slices are averaged,
and the groups stand side by side: the same network, another view of it.

Arrays: ``(n, F)`` features of n images.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .rivals import PLACED

#: Groups of neighbouring slices; fewer where someone has fewer slices.
GROUPS = 8


def placed_features(images: NDArray[np.float32], rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the mean features of each group of neighbouring slices, group after group.

    A session's slices in order are divided into equal parts, so that people with other numbers of
    slices are comparable; a person's sessions are averaged.

    Args:
        images: ``(n, F)`` features.
        rows: ``subject, session, slice`` of the images.

    Returns:
        Indexed by ``subject``, sorted, with columns ``placed_00000``, ...; None where someone has
        a single slice, which has no neighbours.
    """
    keys = rows.reset_index(drop=True).assign(session=rows["session"].astype(str).to_numpy())
    by_session = keys.sort_values("slice").groupby(["subject", "session"], sort=True)
    groups = min(GROUPS, int(by_session.size().min()))
    if groups < 2:
        return None
    names, values = [], []
    for (subject, _), own in by_session:
        parts = np.array_split(own.index.to_numpy(), groups)
        names.append(str(subject))
        values.append(np.concatenate([images[part].mean(axis=0) for part in parts]))
    columns = [f"{PLACED}{number:05d}" for number in range(len(values[0]))]
    table = pd.DataFrame(np.stack(values).astype(np.float64), pd.Index(names, name="subject"))
    return table.set_axis(columns, axis=1).groupby(level=0, sort=True).mean()
