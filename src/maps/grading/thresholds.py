"""The thresholds of every check on maps, in one table, and why they are what they are.

A verdict goes by the mean over people; where a check says so, by the lower end of its 95 %
interval.

Why these thresholds:

- **Rank correlations that should be high** (the same image, moved or with noise): .6 and .4, what
  Cicchetti (1994, doi:10.1037/1040-3590.6.4.284) calls good and poor for measures that are taken
  twice.
- **Rank correlation that should be low** (all weights random): to .4 two maps agree poorly by the
  same source, from .5 they share a quarter of the variance of their ranks (.5 squared). Adebayo et
  al. (2018, arXiv:1810.03292) give no number; Arun et al. (2021, doi:10.1148/ryai.2021200267) ask
  for less than what maps of different people share, which is asked here too. Zero is not asked for:
  random networks favour edges and the middle of the image as trained ones do.
- **Labels**: the backbone keeps what it learnt from true labels, so a high similarity can be
  honest and fails only where nothing at all changes (.99). To pass, labels must make a difference
  of .1 more than fitting the same head again does.
- **Deletion and insertion**: a random order gains 0, so the interval must lie above 0. The order
  from the centre outwards knows that dementia shows at the ventricles, so a map may be as good as
  that; one that is shown to be worse does not pass.
- **Outside the brain**: a map that does not know of it has as much outside as an even one (ratio
  1). Up to half of that is what coarse cells and padding spill; from three quarters on the map is
  hardly about the brain.
- **Agreement** never fails a map: methods disagree as a rule, and none is the truth.
- **The model**: an AUC whose interval holds .5 fails, since the model may have learnt nothing: maps
  of an untrained network are as true to it as others, and pass most of these checks.
- **Planted change** (phantoms): an energy ratio of 1 is a map even over the brain. The planted
  places are central and have edges, so to pass the interval must also lie above the better of two
  maps that need no model: nearness to the brain's centre, and the image's edges.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...auditing.verdicts import FAIL, PASS, WARN
from ...evaluation.metrics.intervals import Interval

#: A mean over fewer people than this does not pass.
FEW_MAPS = 5
#: What is said of one person's value: it is a value, and no answer.
ONE_PERSON = "one person: cannot be told"
#: From this rank correlation on, two maps are one.
SAME_MAP = 0.99


@dataclass(frozen=True)
class Check:
    """A question, and the values that answer it.

    Attributes:
        title: The question, in a few words.
        text: The threshold in words.
        passes: From this value on it passes; above it, or below where less is better.
        fails: From this value on it fails; None never does.
        more_is_better: Which way is good.
        by_low: Whether the interval's lower end has to pass, not the mean.
        strict: Whether what does not pass fails.
        needed: Whether maps cannot pass while this is not known.
    """

    title: str
    text: str
    passes: float
    fails: float | None
    more_is_better: bool = True
    by_low: bool = False
    strict: bool = False
    needed: bool = False

    def verdict(self, value: Interval) -> str:
        """Return PASS, WARN or FAIL."""
        sign = 1 if self.more_is_better else -1
        judged = lower_end(value) if self.by_low else value["value"]
        if self.fails is not None and sign * value["value"] <= sign * self.fails:
            return FAIL
        good = judged > self.passes if self.by_low else sign * judged >= sign * self.passes
        if good:
            return PASS
        return FAIL if self.strict else WARN


def lower_end(value: Interval) -> float:
    """Return the lower end, or the value itself of so few people that there is no interval."""
    return float(value["value"] if value["low"] is None else value["low"])


#: Every threshold there is; the reasons stand at the top of this module.
THRESHOLDS: dict[str, Check] = {
    "model": Check(
        "The model tells demented from not",
        "AUC of validation people: interval above .5",
        passes=0.5, fails=0.5, by_low=True, strict=True, needed=True,
    ),
    "weights": Check(
        "Maps depend on what was learnt",
        "all weights random: rank correlation to .4 passes, from .5 fails",
        passes=0.4, fails=0.5, more_is_better=False, needed=True,
    ),
    "labels": Check(
        "Maps depend on the labels",
        "head fitted to shuffled labels: .1 less alike than fitted to true ones passes; "
        "a similarity of .99 fails",
        passes=0.1, fails=None,
    ),
    "faithfulness": Check(
        "Marked places are those the model uses",
        "deletion and insertion: gain over random above 0, not below the centre's (intervals)",
        passes=0.0, fails=0.0, by_low=True, needed=True,
    ),
    "shift": Check(
        "Maps move with the head",
        "moved by 1 and 2 places: rank correlation from .6 passes, to .4 fails",
        passes=0.6, fails=0.4,
    ),
    "noise": Check(
        "Maps bear noise",
        "noise of 2 % of the grey range: rank correlation from .6 passes, to .4 fails",
        passes=0.6, fails=0.4,
    ),
    "outside": Check(
        "Maps stay in the brain",
        "share of the map outside, over that of an even map: to .5 passes, from .75 fails",
        passes=0.5, fails=0.75, more_is_better=False,
    ),
    "agreement": Check(
        "Other methods agree",
        "mean rank correlation with other methods: from .4 passes; never fails",
        passes=0.4, fails=None,
    ),
    "phantom": Check(
        "Maps point to the planted change",
        "energy ratio: interval above 1 and above maps without a model passes, a mean to 1 fails",
        passes=1.0, fails=1.0, by_low=True,
    ),
}  # fmt: skip
