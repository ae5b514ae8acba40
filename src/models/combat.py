"""ComBat: each site's measures brought to one mean and spread, without labels. Torch-free.

Fitted to some people, and applied to others of the same sites. A site that was not among them is
met with its own people's measures: what was fitted to the others stays, and the new site's shift
and scale are estimated as every site's are. That reads the people who are answered, though not
their labels, so the answer on one depends on the others of that site: it is transductive.

Labels are no covariate. With them in the model, harmonised people carry their labels into whatever
is fitted next (arXiv:2410.19643). Age and sex are none either, so where sites differ in their
people, a part of what is disease or age goes with the site: harmonising may cost as well as help.

Written here because no package fits: neuroHarmonize 2.5 needs numpy under 2, combatlearn 2.3
refuses a site that was not fitted and brings umap-learn and plotly. neuroCombat, which does not
apply what it fitted to others, is the oracle of the tests.

Axes: P people, F columns (features or measures); one site at a time. NaN is missing.

Source: Johnson, Li and Rabinovic (2007), Biostatistics 8(1):118-127,
doi:10.1093/biostatistics/kxj037; for sites of brain images: Fortin et al. (2018),
doi:10.1016/j.neuroimage.2017.11.024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: People under whom a site's shift and scale are not estimated: it stays as it is.
FEW = 5
#: Columns under which there is no prior to learn from the others: each stands for itself.
FEW_COLUMNS = 10
_ENOUGH, _MOST_STEPS = 1e-6, 1000


@dataclass(frozen=True, eq=False)
class Combat:
    """What was fitted.

    Attributes:
        mean: (F,) of all people.
        spread: (F,) standard deviation within sites.
        sites: Site -> (F,) shift and (F,) scale, in units of `spread`.
        unchanged: Sites of too few people.
    """

    mean: Floats
    spread: Floats
    sites: dict[str, tuple[Floats, Floats]]
    unchanged: tuple[str, ...] = ()

    def with_new_sites(self, values: Floats, site: Sequence[str]) -> Combat:
        """Return the same with the sites that were not fitted, by their own people's measures.

        Args:
            values: (P, F) of people, without labels.
            site: (P,) names; those that are known are not estimated again.
        """
        names = np.asarray(site, dtype=object)
        sites, unchanged = dict(self.sites), list(self.unchanged)
        standard = (np.asarray(values, dtype=np.float64) - self.mean) / self.spread
        for name in sorted(set(names) - self.sites.keys() - set(self.unchanged)):
            own = standard[names == name]
            if len(own) < FEW:
                unchanged.append(name)
            else:
                sites[name] = _estimate(own)
        return replace(self, sites=sites, unchanged=tuple(unchanged))

    def apply(self, values: NDArray[np.floating], site: Sequence[str]) -> Floats:
        """Return (n, F) harmonised rows.

        Args:
            values: (n, F): of people, or of their images, as a site's change is the same for both.
            site: (n,) names.

        Raises:
            KeyError: A site is not known.
        """
        names = np.asarray(site, dtype=object)
        made = np.array(values, dtype=np.float64)
        for name in set(names) - set(self.unchanged):
            shift, scale = self.sites[name]
            own = (made[names == name] - self.mean) / self.spread
            made[names == name] = (own - shift) / scale * self.spread + self.mean
        return made


def fit_combat(values: NDArray[np.floating], site: Sequence[str]) -> Combat:
    """Fit the shift and scale of each site.

    Args:
        values: (P, F) of people; a column that does not vary stays as it is.
        site: (P,) names.
    """
    known = np.asarray(values, dtype=np.float64)
    names = np.asarray(site, dtype=object)
    within = known.copy()
    for name in set(names):
        within[names == name] -= _mean(known[names == name])
    mean, spread = _mean(known), np.sqrt(_mean(within**2))
    start = Combat(mean, np.where(spread > 0, spread, 1.0), {})
    return start.with_new_sites(known, list(names))


def _mean(values: Floats) -> Floats:
    """Return (F,) means of what is known; 0 where nothing is."""
    count = np.isfinite(values).sum(axis=0)
    total: Floats = np.nansum(values, axis=0) / np.maximum(count, 1)
    return total


def _estimate(values: Floats) -> tuple[Floats, Floats]:
    """Return (F,) shift and scale of one site from its standardised people.

    Each column's own estimate is drawn to those of the others, the more the fewer people there are:
    a normal prior for shifts, an inverse gamma one for variances, both with the columns' moments.
    """
    count = np.isfinite(values).sum(axis=0)
    shift = _mean(values)
    squares = np.nansum((values - shift) ** 2, axis=0)
    variance = squares / np.maximum(count - 1, 1)
    varies = (variance > 0) & (count > 1)
    if varies.sum() >= FEW_COLUMNS:
        drawn = _drawn(values[:, varies], shift[varies], variance[varies], count[varies])
        shift[varies], variance[varies] = drawn
    scale = np.sqrt(np.where(varies, variance, 1.0))
    return np.where(varies, shift, 0.0), scale


def _drawn(
    values: Floats, shift: Floats, variance: Floats, count: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the shifts and variances that fit both the site's people and the prior."""
    centre, width = shift.mean(), shift.var(ddof=1)
    m, s2 = variance.mean(), variance.var(ddof=1)
    if s2 == 0 or width == 0:
        return shift, variance
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    total, squares = np.nansum(values, axis=0), np.nansum(values**2, axis=0)
    g, d = shift, variance
    for _ in range(_MOST_STEPS):
        new_g = (width * count * shift + d * centre) / (width * count + d)
        rest = squares - 2 * new_g * total + count * new_g**2
        new_d = (0.5 * rest + b) / (count / 2 + a - 1)
        change = max(_largest(new_g, g), _largest(new_d, d))
        g, d = new_g, new_d
        if change < _ENOUGH:
            break
    return g, d


def _largest(new: Floats, old: Floats) -> float:
    return float((np.abs(new - old) / np.maximum(np.abs(old), _ENOUGH)).max())
