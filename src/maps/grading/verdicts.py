"""Verdicts on maps: what each check found, held against its threshold, in a sentence.

Values are one per person, None where a person's map is empty; intervals are 95 %, over people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...auditing.verdicts import FAIL, NOT_KNOWN, PASS, WARN
from ...errors import counted
from ...evaluation.metrics.intervals import Interval, interval, resample_people
from ...predictions import FEW_PEOPLE
from ...report.estimates import ends_of, written
from .similarity import mean_of
from .thresholds import FEW_MAPS, ONE_PERSON, SAME_MAP, THRESHOLDS, lower_end

Section = Mapping[str, Any]
Entry = dict[str, Any]
Values = Sequence[float | None]
#: What shuffled labels can and cannot show.
_LIMITS = (
    "This shows whether maps heed the head; the backbone keeps what true labels taught it, and "
    "whether that is sound it cannot show"
)
_UNKNOWN: Interval = {"value": None, "low": None, "high": None}


def judge(
    results: Mapping[str, Section], *, n_bootstrap: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return the verdict on maps, and the checks behind it.

    Args:
        results: Sections as the checks return them: ``model``, ``weights``, ``labels``,
            ``faithfulness``, ``stability``, ``outside``, ``agreement`` and ``phantom``. One that is
            absent is not a check of this run.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Returns:
        ``verdict``: FAIL if a check fails; WARN if one warns, or if one that is needed is not
        known; else PASS. ``checks``: each with ``name``, ``title``, ``value`` (interval over
        people), ``n_people``, ``threshold``, ``verdict`` and ``sentence``.
    """
    judged = _Judge(n_bootstrap, seed)
    checks = []
    for name, (section, speak) in judged.checks.items():
        found = results.get(section)
        if found is None:
            continue
        if found.get("available", True):
            checks.append(speak(found))
        else:
            reason = str(found.get("reason") or "not computed")
            checks.append(_entry(name, _UNKNOWN, 0, NOT_KNOWN, f"Not known: {reason}."))
    return {"verdict": _overall(checks), "checks": checks}


def over_people(values: Values, n_bootstrap: int, seed: int) -> Interval:
    """Return the mean of the people whose value is known, with its interval.

    Without any known value all is None; of a single person there is no interval.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return dict(_UNKNOWN)
    wanted = n_bootstrap if len(known) > 1 else 0
    drawn = list(resample_people(len(known), wanted, seed, chunk=10_000))
    means = np.concatenate(drawn) @ known / len(known) if drawn else np.empty(0)
    return interval(known.mean(), means)


class _Judge:
    """The checks, each a function from its section to its entry."""

    def __init__(self, n_bootstrap: int, seed: int) -> None:
        self.n_bootstrap, self.seed = n_bootstrap, seed
        self.checks: dict[str, tuple[str, Callable[[Section], Entry]]] = {
            "model": ("model", self.model),
            "weights": ("weights", self.weights),
            "labels": ("labels", self.labels),
            "faithfulness": ("faithfulness", self.faithfulness),
            "shift": ("stability", self.shift),
            "noise": ("stability", self.noise),
            "outside": ("outside", self.outside),
            "agreement": ("agreement", self.agreement),
            "phantom": ("phantom", self.phantom),
        }

    def model(self, section: Section) -> Entry:
        """Judge the AUC of the model's validation people."""
        value = section["auc"]
        if value["value"] is None:
            sentence = "Not known: validation people are all demented, or none of them is."
            return _entry("model", value, section["n_people"], NOT_KNOWN, sentence)
        meanings = {
            PASS: "there is something to explain",
            WARN: "so few people cannot show it",
            FAIL: "that is not shown to be more than chance, and maps of chance explain nothing",
        }
        found = _Found.of(value, int(section.get("n_fewest", section["n_people"])))
        start = "AUC of demented against not, validation people:"
        # So few can be told apart without an error by chance, which leaves no interval.
        unsure = ends_of(value) is None and found.n < FEW_PEOPLE
        doubt = "so few people cannot show it without an interval" if unsure else ""
        entry = found.entry("model", start, meanings, doubt=doubt)
        return entry | {"n_people": section["n_people"]}

    def weights(self, section: Section) -> Entry:
        """Judge how alike maps still are when all weights are random."""
        found = self._of_people(section["stages"][-1]["similarity"])
        baseline = mean_of(section["between_people"])
        meanings = {
            PASS: "they depend on what the model learnt",
            WARN: "part of them comes from the image and the architecture",
            FAIL: "they would look much the same had the model learnt nothing",
        }
        start = "With all weights random, maps correlate with the model's at"
        others = "" if baseline is None else f" (maps of different people: {baseline:.2f})"
        above = baseline is not None and found.above(baseline)
        doubt = "that is no less than those of different people" if above else ""
        return found.entry("weights", start, meanings, aside=others, doubt=doubt)

    def labels(self, section: Section) -> Entry:
        """Judge how much less alike maps are with a head fitted to shuffled labels."""
        pairs = zip(section["refitted"], section["shuffled"], strict=True)
        found = self._of_people([None if None in pair else pair[0] - pair[1] for pair in pairs])
        alike = mean_of(section["shuffled"])
        meanings = {
            PASS: f"labels make a difference. {_LIMITS}",
            WARN: f"labels make little difference. {_LIMITS}",
            FAIL: "the method does not heed what the head says",
        }
        same = alike is not None and alike >= SAME_MAP
        start = (
            "A head fitted to shuffled labels instead of true ones lowers the rank correlation of "
            "maps by"
        )
        aside = f", to {alike or 0:.2f}"
        return found.entry("labels", start, meanings, aside=aside, failed=same)

    def faithfulness(self, section: Section) -> Entry:
        """Judge what deletion and insertion gain over random orders, and over the centre's."""
        found = self._of_people(section["gain"])
        over_centre = self._of_people(section["over_centre"]).value
        worse = over_centre["high"] is not None and over_centre["high"] < 0
        meanings = {
            PASS: "the model uses the places that are marked",
            WARN: "that may be chance",
            FAIL: "the marked places matter no more than others",
        }
        aside = f" log-odds; over going from the centre outwards, {said(over_centre)}"
        start = "Deleting and inserting in the order of the maps gains, over random orders,"
        doubt = "but going from the centre outwards gains more, without any map" if worse else ""
        return found.entry("faithfulness", start, meanings, aside=aside, doubt=doubt)

    def shift(self, section: Section) -> Entry:
        """Judge how alike maps are when the image is moved."""
        start = "When the image is moved by one or two places, maps move with it:"
        return self._repeated("shift", section["shift"], start)

    def noise(self, section: Section) -> Entry:
        """Judge how alike maps are when the image gets noise."""
        start = f"With noise of {section['noise_sd']:.0%} of the grey range, maps stay alike:"
        return self._repeated("noise", section["noise"], start)

    def outside(self, section: Section) -> Entry:
        """Judge how much of the maps is not in the brain."""
        found = self._of_people(section["ratio"])
        share, volume = mean_of(section["share"]) or 0.0, mean_of(section["volume"]) or 0.0
        meanings = {
            PASS: "they are about the brain",
            WARN: "part of them is spilt outside the brain",
            FAIL: "they do not know where the brain ends",
        }
        start = f"{share:.0%} of the maps are outside the brain, of an even map {volume:.0%}: ratio"
        return found.entry("outside", start, meanings)

    def agreement(self, section: Section) -> Entry:
        """Judge how alike the maps of other methods are."""
        found = self._of_people(section["own"])
        meanings = {
            PASS: "they tell the same",
            WARN: "what is marked depends on the method",
            FAIL: "",
        }
        start = f"Maps of {', '.join(section['methods'][1:])} correlate with these at"
        return found.entry("agreement", start, meanings)

    def phantom(self, section: Section) -> Entry:
        """Judge how dense the map is where the change was planted, beside what anatomy gives."""
        value, n, rival = section["energy_ratio"], section["n_people"], section["rival"]
        meanings = {
            PASS: "maps point to it",
            WARN: "that may be chance",
            FAIL: "maps do not point to it",
        }
        doubt = ""
        if value["value"] is not None and lower_end(value) <= rival["energy_ratio"]:
            doubt = (
                f"a map of the {rival['method']}, without a model, has {rival['energy_ratio']:.2f}"
            )
        aside = (
            " times as dense where the change was planted as in the brain as a whole, and their "
            f"peak is there in {section['pointing']['value']:.0%} of {counted(n, 'person')}"
        )
        return _Found.of(value, n).entry("phantom", "Maps are", meanings, aside=aside, doubt=doubt)

    def _repeated(self, name: str, values: Values, start: str) -> Entry:
        meanings = {
            PASS: "they can be repeated",
            WARN: "fine detail is not to be read",
            FAIL: "they are not repeatable",
        }
        found = self._of_people(values)
        return found.entry(name, f"{start} rank correlation", meanings)

    def _of_people(self, values: Values) -> _Found:
        known = sum(one is not None for one in values)
        return _Found(over_people(values, self.n_bootstrap, self.seed), known, len(values))


class _Found:
    """A mean over `n` of `n_all` people, on the way to a verdict."""

    def __init__(self, value: Interval, n: int, n_all: int) -> None:
        self.value, self.n, self.n_all = value, n, n_all

    @classmethod
    def of(cls, value: Interval, n: int) -> _Found:
        """Return a value that `n` people have, and nobody lacks; of None, it is nobody's."""
        return cls(value, n if value["value"] is not None else 0, n)

    def above(self, limit: float) -> bool:
        """Return whether the mean lies above `limit`."""
        return self.value["value"] is not None and self.value["value"] > limit

    def entry(
        self, name: str, start: str, meanings: Mapping[str, str], *,
        aside: str = "", doubt: str = "", failed: bool = False,
    ) -> Entry:  # fmt: skip
        """Return the check: a doubt turns PASS to WARN, and is what the sentence then says."""
        if not self.n:
            return _entry(name, self.value, 0, NOT_KNOWN, "Not known: every map is empty.")
        verdict = FAIL if failed else THRESHOLDS[name].verdict(self.value)
        few = self.n < FEW_MAPS or 2 * self.n <= self.n_all
        meaning = doubt if verdict == PASS and doubt else meanings[verdict]
        if self.n == 1:
            verdict, meaning = NOT_KNOWN, ONE_PERSON
        sentence = f"{start} {said(self.value)}{aside}: {meaning}."
        if self.n < self.n_all:
            sentence += f" {self.n_all - self.n} of {self.n_all} maps are empty and not counted."
        if verdict == PASS and few:
            sentence += f" {counted(self.n, 'person is', 'people are')} too few to pass."
        verdict = WARN if verdict == PASS and (doubt or few) else verdict
        return _entry(name, self.value, self.n, verdict, sentence)


def said(value: Interval) -> str:
    """Return an interval in words: ``0.53 (0.46 to 0.60)``."""
    return written(value, "{:.2f}".format)


def _entry(name: str, value: Interval, n_people: int, verdict: str, sentence: str) -> Entry:
    check = THRESHOLDS[name]
    return {
        "name": name,
        "title": check.title,
        "value": value,
        "n_people": n_people,
        "threshold": check.text,
        "verdict": verdict,
        "sentence": sentence,
    }


def _overall(checks: Sequence[Entry]) -> str:
    verdicts = [check["verdict"] for check in checks]
    known = {check["name"] for check in checks if check["verdict"] != NOT_KNOWN}
    needed = {name for name, check in THRESHOLDS.items() if check.needed}
    if FAIL in verdicts:
        return FAIL
    return WARN if WARN in verdicts or needed - known else PASS
