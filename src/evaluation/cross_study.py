"""Models of one study on the people of others: the cells of the matrix, and their folds.

A cell is one question: what is a model of A worth at B? Each is a fold, or some, of one joined data
set: trained on people of A, tested on people of B. So a cell is kept, resumed and run alone as a
fold of a cross-validation is.

- *within*: B's own cross-validation, beside which every other cell of B stands;
- *pair*: trained on everyone of A, tested on everyone of B;
- *others*: trained on every other study, tested on B (three studies or more).

A pair is refused where it would be no external test: the studies may be of the same people under
other names. People who are found in both studies are left out of the training side, by name. Of two
studies of the same people one trains, and of two names of one person. A study whose people the
weights of ``--weights`` have seen is tested by no cell.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..cohorts.registry import cohort_of, same_people
from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.joined import join_studies
from ..data.run_data import as_made
from ..data.splits import (
    Fold,
    choose_validation_people,
    folds_table,
    make_folds,
    with_fold,
)
from ..errors import ConfigError, LeakageError, UnknownNameError, counted
from ..models.weights import card_of_file
from .cross_validation import Study, keep
from .opened_studies import open_studies, shared_among
from .pretrained_people import refuse_other_images, seen_of, stamped

logger = logging.getLogger(__name__)
WITHIN, PAIR, OTHERS = "within", "pair", "others"


@dataclass(frozen=True)
class Cell:
    """One question of the matrix.

    Attributes:
        name: ``A_to_B``, ``others_to_B`` or ``B_within``.
        kind: `WITHIN`, `PAIR` or `OTHERS`.
        trained_on: Studies whose people it learns from.
        tested_on: Study whose people it answers.
        folds: What it trains; none where it is refused.
        refused: Why it is no external test; empty where it is one.
        dropped: People left out of training because the tested study has them, too.
        twice: People left out because another study that trains has them, too.
    """

    name: str
    kind: str
    trained_on: tuple[str, ...]
    tested_on: str
    folds: tuple[Fold, ...] = ()
    refused: str = ""
    dropped: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


class CrossStudy(Study):
    """Several studies as one: their people, and the cells that divide them.

    Args:
        config: Of the run; its ``data.datasets`` names processed data sets.

    Raises:
        ConfigError: Under two studies, one twice, or images or labels that do not go together.
        DataNotFoundError: There is no such processed data set.
        LeakageError: A study keeps a split with the same people on both sides, or ``--weights``
            were learnt on people of every study.
        CheckpointError: ``--weights`` were learnt on images made otherwise.
    """

    def __init__(self, config: RunConfig) -> None:
        if config.train.beside:
            raise ConfigError(
                f"--tasks {config.train.tasks}: several studies are scored by stage alone",
                hint="leave --tasks out, or train and evaluate on one data set",
            )
        self.config = config
        self.name = config.run or f"{config.run_name}_crossdata"
        parts = open_studies(config)
        self.cohorts = {name: cohort_of(part.name, part.settings) for name, part in parts.items()}
        self.parts = parts
        self.joined = join_studies(parts)
        self.data = self.joined.data
        self.seen = self._seen_by_weights()
        self.shared = shared_among(parts, self.joined)
        self.cells = list(self._cells())
        self.folds = [fold for cell in self.cells for fold in cell.folds]

    @property
    def studies(self) -> list[str]:
        """Names of the studies, in the order they were given."""
        return list(self.joined.named)

    def cell_called(self, name: str) -> Cell:
        """Return a cell by its name.

        Raises:
            UnknownNameError: There is none.
            LeakageError: It is refused.
        """
        found = next((cell for cell in self.cells if cell.name == name), None)
        if found is None:
            raise UnknownNameError("cell", name, [cell.name for cell in self.cells])
        if found.refused:
            raise LeakageError(f"--cell {name}: {found.refused}", hint="choose another cell")
        return found

    def jobs(self, *, every: bool = False) -> list[tuple[Fold, int]]:
        """Return the (fold, seed) pairs of the cell asked for, or of all."""
        wanted = self.config.crossdata.cell
        folds = self.folds if every or wanted is None else self.cell_called(wanted).folds
        return [(fold, 0) for fold in folds]

    def settings(self) -> dict[str, Any]:
        """Return the settings of the whole, whichever cell this call trains."""
        config = self.config
        config = replace(
            config,
            crossdata=replace(config.crossdata, cell=None),
            crossval=replace(config.crossval, collect=False),
            data=replace(config.data, cache_dir=None),
            dask=None,
            workers=None,
            keep_memory=True,
        )
        return as_made(config_to_dict(config), self.data.settings)

    def keeps_model_of(self, fold: Fold, seed: int) -> bool:
        """Return whether a fold's checkpoint is kept: not where a head alone was fitted.

        A model of one study that is to be used on new scans is made by ``--mode train``.
        """
        return not self.config.model.freeze_backbone

    def write_folds(self, folder: Path) -> Path:
        """Write ``folds.csv``; a study may join later, as each fold knows its own people."""
        tables = [folds_table([fold]).assign(name=fold.name) for fold in self.folds]
        table = pd.concat(tables)[["name", "subject", "side"]]
        text = table.to_csv(index=False, lineterminator="\n")
        return keep(folder / "folds.csv", text)

    def identity_of(self, fold: Fold) -> dict[str, Any]:
        """Return what a fold's answers depend on: settings, people on each side, their images."""
        rows = with_fold(self.data.manifest, fold).table.dropna(subset=["split"])
        text = rows[["subject", "split", "label", "fingerprint"]].to_csv(index=False)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return self.identity() | {"folds": digest, "images": ""}

    def _seen_by_weights(self) -> dict[str, str]:
        """Return study -> why no cell may be tested on it: ``--weights`` were learnt on its people.

        Where leaks are allowed the data are stamped, and every study may be tested on.
        """
        weights = self.config.model.weights
        card = card_of_file(weights)
        found: dict[str, str] = {}
        if card is None:
            return found
        for name, part in self.parts.items():
            refuse_other_images(card, str(weights), part)
            if known := seen_of(card, part, part.subjects):
                found[name] = f"{weights} was learnt on {known}"
        if found and self.config.train.allow_leaks:
            logger.warning("%s; allowed, and stamped", "; ".join(found.values()))
            self.data = stamped(self.data)
            return {}
        if len(found) == len(self.parts):
            raise LeakageError(
                f"no study is left to test on: {'; '.join(found.values())}",
                hint="--weights none, or weights of other people; or --allow_leaks to go on",
            )
        return found

    def _cells(self) -> list[Cell]:
        cells = [self._within(study) for study in self.studies]
        pairs = [(a, b) for b in self.studies for a in self.studies if a != b]
        cells += [self._external(f"{a}_to_{b}", PAIR, (a,), b) for a, b in pairs]
        if len(self.studies) > 2:
            for study in self.studies:
                others = tuple(one for one in self.studies if one != study)
                cells.append(self._external(f"others_to_{study}", OTHERS, others, study))
        return cells

    def _within(self, study: str) -> Cell:
        if study in self.seen:
            return Cell(f"{study}_within", WITHIN, (study,), study, refused=self.seen[study])
        config, people = self.config, self.joined.people_of(study)
        own = self.data.manifest.where(self.data.manifest.table["subject"].isin(people))
        try:
            made = make_folds(
                own,
                folds=config.crossval.parts,
                repeats=1,
                val_fraction=config.data.val_fraction,
                seed=config.data.seed,
            )
        except ConfigError as error:  # too few people: the study can still be tested on
            return Cell(f"{study}_within", WITHIN, (study,), study, refused=error.message)
        folds = tuple(replace(fold, label=f"{study}_within_fold{fold.fold}") for fold in made)
        return Cell(f"{study}_within", WITHIN, (study,), study, folds)

    def _external(self, name: str, kind: str, trained_on: tuple[str, ...], tested_on: str) -> Cell:
        """Return a cell that tests on another study than it learns from, or why there is none."""
        used, why = self._trainable(trained_on, tested_on)
        if tested_on in self.seen:
            return Cell(name, kind, trained_on, tested_on, refused=self.seen[tested_on])
        if not used:
            return Cell(name, kind, trained_on, tested_on, refused="; ".join(why.values()))
        if why:
            left, reason = next(iter(why.items()))
            if len(used) == 1:
                reason = f"of the other studies only {used[0]} trains, as {reason}"
                refused = f"{reason}: see {used[0]}_to_{tested_on}"
                return Cell(name, kind, used, tested_on, refused=refused)
            logger.warning("%s: without %s: %s", name, ", ".join(why), why[left])
        there = set(self.joined.people_of(tested_on))
        learning, dropped, twice = self._learning(used, there)
        labels = self.data.manifest.people()["label"]
        known = sorted({self.data.scheme.names[str(one)] for one in labels[learning]})
        if len(known) < 2:
            refused = f"all people to learn from are {known[0] if known else 'left out'}"
            return Cell(name, kind, used, tested_on, (), refused, dropped, twice)
        val = choose_validation_people(
            labels[learning], self.config.data.val_fraction, self.config.data.seed
        )
        train = tuple(who for who in learning if who not in set(val))
        fold = Fold(0, 0, train, tuple(sorted(val)), tuple(sorted(there)), name)
        for people, where in ((dropped, tested_on), (twice, "another study that trains")):
            if people:
                logger.warning(
                    "%s: %s found in %s too, and left out of training: %s",
                    *(name, counted(len(people), "person is", "people are"), where),
                    ", ".join(people[:5]) + (", ..." if len(people) > 5 else ""),
                )
        return Cell(name, kind, used, tested_on, (fold,), "", dropped, twice)

    def _trainable(
        self, studies: tuple[str, ...], tested_on: str
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the studies that a cell learns from, and why not from the others.

        Of studies of the same people under other names the first one trains: a person who stands
        in the training under two names would count twice, and choose the epoch of their own model.
        """
        used: list[str] = []
        why: dict[str, str] = {}
        for one in studies:
            reasons = (self._same_people(one, other) for other in (tested_on, *used))
            if reason := next(filter(None, reasons), ""):
                why[one] = reason
            else:
                used.append(one)
        return tuple(used), why

    def _learning(
        self, used: tuple[str, ...], there: set[str]
    ) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
        """Return who trains, each person once; who is tested, too; and who trains by another name.

        Args:
            used: Studies that train.
            there: People of the tested study.
        """
        learning: set[str] = set()
        dropped, twice = [], []
        for who in (who for one in used for who in self.joined.people_of(one)):
            if self._met(who, there):
                dropped.append(who)
            elif self._met(who, learning):
                twice.append(who)
            else:
                learning.add(who)
        return sorted(learning), tuple(sorted(dropped)), tuple(sorted(twice))

    def _met(self, who: str, others: set[str]) -> bool:
        """Return whether a person is one of these under another name."""
        return bool(self.shared.get(who, set()) & others)

    def _same_people(self, one: str, other: str) -> str:
        """Say that two studies are, or may be, of the same people; empty where they are not."""
        a, b = self.cohorts[one], self.cohorts[other]
        if a and b and same_people(a, b):
            told = f"both are {a}" if a == b else f"{a} and {b}"
            return (
                f"{one} and {other} are, or may be, of the same people under other names ({told})"
            )
        return ""
