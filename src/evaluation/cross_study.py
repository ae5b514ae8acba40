"""Models of one study on the people of others: the cells of the matrix, and their folds.

A cell is one question: what is a model of A worth at B? Each is a fold, or some, of one joined data
set: trained on people of A, tested on people of B. So a cell is kept, resumed and run alone as a
fold of a cross-validation is.

- *within*: B's own cross-validation, beside which every other cell of B stands;
- *pair*: trained on everyone of A, tested on everyone of B;
- *others*: trained on every other study, tested on B (three studies or more).

A pair is refused where it would be no external test: the studies may be of the same people under
other names. People who are found in both studies are left out of the training side, by name.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..auditing.two_studies import shared_people
from ..cohorts.registry import same_people
from ..config import RunConfig, kind_of_dataset
from ..config.options import config_to_dict
from ..data.class_people import people_of
from ..data.dataset import MriDataset
from ..data.joined import JoinedStudies, join_studies
from ..data.loaders import open_dataset
from ..data.run_data import as_made
from ..data.splits import (
    Fold,
    choose_validation_people,
    folds_table,
    make_folds,
    with_fold,
)
from ..errors import ConfigError, DataNotFoundError, LeakageError, UnknownNameError, counted
from ..labels import class_scheme
from ..manifest import PEOPLE_UNKNOWN, SAME_PEOPLE
from .cross_validation import Study, keep
from .open_checkpoint import cohort_of

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
    """

    name: str
    kind: str
    trained_on: tuple[str, ...]
    tested_on: str
    folds: tuple[Fold, ...] = ()
    refused: str = ""
    dropped: tuple[str, ...] = ()


class CrossStudy(Study):
    """Several studies as one: their people, and the cells that divide them.

    Args:
        config: Of the run; its ``data.datasets`` names processed data sets.

    Raises:
        ConfigError: Under two studies, one twice, or images or labels that do not go together.
        DataNotFoundError: There is no such processed data set.
        LeakageError: A study keeps a split with the same people on both sides.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.name = config.run or f"{config.run_name}_crossdata"
        parts = open_studies(config)
        self.cohorts = {name: cohort_of(part.name, part.settings) for name, part in parts.items()}
        self.parts = parts
        self.joined = join_studies(parts)
        self.data = self.joined.data
        self.shared = _shared(parts, self.joined)
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
        why = {one: self._no_test(one, tested_on) for one in trained_on}
        used = tuple(one for one in trained_on if not why[one])
        if not used:
            refused = "; ".join(filter(None, why.values()))
            return Cell(name, kind, trained_on, tested_on, refused=refused)
        if len(used) < len(trained_on):
            if len(used) == 1:
                reason = f"of the other studies only {used[0]} is external: see {used[0]}_to_"
                return Cell(name, kind, used, tested_on, refused=f"{reason}{tested_on}")
            left = [one for one in trained_on if why[one]]
            logger.warning("%s: without %s: %s", name, ", ".join(left), why[left[0]])
        there = set(self.joined.people_of(tested_on))
        dropped = sorted(
            who for one in used for who in self.joined.people_of(one) if self._met(who, there)
        )
        learning = sorted(
            who for one in used for who in self.joined.people_of(one) if who not in dropped
        )
        labels = self.data.manifest.people()["label"]
        known = sorted({self.data.scheme.names[str(one)] for one in labels[learning]})
        if len(known) < 2:
            refused = f"all people to learn from are {known[0] if known else 'left out'}"
            return Cell(name, kind, used, tested_on, refused=refused, dropped=tuple(dropped))
        val = choose_validation_people(
            labels[learning], self.config.data.val_fraction, self.config.data.seed
        )
        train = tuple(who for who in learning if who not in set(val))
        fold = Fold(0, 0, train, tuple(sorted(val)), tuple(sorted(there)), name)
        if dropped:
            logger.warning(
                "%s: %s found in %s too, and left out of training: %s",
                *(name, counted(len(dropped), "person is", "people are"), tested_on),
                ", ".join(dropped[:5]) + (", ..." if len(dropped) > 5 else ""),
            )
        return Cell(name, kind, used, tested_on, (fold,), dropped=tuple(dropped))

    def _met(self, who: str, others: set[str]) -> bool:
        """Return whether a person is one of these under another name."""
        return bool(self.shared.get(who, set()) & others)

    def _no_test(self, one: str, other: str) -> str:
        """Return why one study is no external test of the other; empty where it is one."""
        a, b = self.cohorts[one], self.cohorts[other]
        if a and b and same_people(a, b):
            told = f"both are {a}" if a == b else f"{a} and {b}"
            return (
                f"{one} and {other} are, or may be, of the same people under other names ({told})"
            )
        return ""


def open_studies(config: RunConfig) -> dict[str, MriDataset]:
    """Open the processed data sets that a run names: everyone rated, by the study's name.

    Raises:
        ConfigError: Under two, one twice, or labels of different kinds.
        DataNotFoundError: There is no such processed data set.
        LeakageError: One keeps a split with the same people on both sides.
    """
    names = config.data.datasets
    if len(names) < 2:
        raise ConfigError(
            f"--datasets names {counted(len(names), 'data set')}, and two or more are needed",
            hint="python main.py --mode crossdata --datasets oasis3_2d aibl_2d",
        )
    folders = [_folder(config, name) for name in names]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("--datasets names one data set twice", hint="name each once")
    kinds = {folder: kind_of_dataset(folder.name) for folder in folders}
    first = kinds[folders[0]]
    for folder, kind in kinds.items():
        if kind != first:
            raise ConfigError(
                f"{folders[0].name} is labelled by {first} and {folder.name} by {kind}: no label "
                "of the one is one of the other",
                hint=f"preprocess both with --label {first}",
            )
    scheme = class_scheme(config.data.classes, first)
    opened = {}
    for name, folder in zip(_study_names(folders), folders, strict=True):
        part = open_dataset(
            *(folder, config.data.model_dim, scheme),
            min_age=config.data.min_age,
            seed=config.data.seed,
            allow_leaks=config.train.allow_leaks,
            cache_dir=config.data.cache_dir,
        )
        _check_study(name, part)
        opened[name] = part.everyone("train")
    return opened


def _folder(config: RunConfig, name: str) -> Path:
    """Return the folder of a data set that was named, or named by its path."""
    below = config.data.data_root / name
    folder = below if below.is_dir() else Path(name)
    if not folder.is_dir():
        there = sorted(path.parent.name for path in config.data.data_root.glob("*/manifest.csv"))
        hint = f"there are: {', '.join(there)}" if there else "preprocess it first"
        raise DataNotFoundError(below, hint=hint)
    return folder


def _study_names(folders: list[Path]) -> list[str]:
    """Return a name of each study: its folder's without the dimension, or with the one above."""
    stems = [folder.resolve().name.rsplit("_2d")[0].rsplit("_3d")[0] for folder in folders]
    if len(set(stems)) == len(stems):
        return stems
    longer = [
        f"{folder.resolve().parent.name}-{stem}"
        for folder, stem in zip(folders, stems, strict=True)
    ]
    if len(set(longer)) < len(longer):
        raise ConfigError(
            f"two data sets are called {stems[0]}, and so are the folders above them",
            hint="preprocess them with --study NAME, which names them apart",
        )
    return longer


def _check_study(name: str, part: MriDataset) -> None:
    if SAME_PEOPLE in part.manifest.stamps:
        raise LeakageError(
            f"{name} keeps a split with the same people on both sides",
            hint="leave --official_split out: crossdata divides people itself",
        )
    if PEOPLE_UNKNOWN in part.manifest.stamps:
        logger.warning(
            "%s: %s: whether a person of it is in another study cannot be told by name",
            *(name, PEOPLE_UNKNOWN),
        )
    counts = people_of(part.everyone("train").manifest, part.scheme)
    told = ", ".join(f"{sides['train']} {label}" for label, sides in counts.items())
    logger.info("%s: %s", name, told)


def _shared(parts: Mapping[str, MriDataset], joined: JoinedStudies) -> dict[str, set[str]]:
    """Return person -> who it is in other studies, by the names of the joined data."""
    met: dict[str, set[str]] = {}
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            found: pd.DataFrame = shared_people(parts[one].manifest, parts[other].manifest)
            for a, b, why in zip(found["subject_a"], found["subject_b"], found["why"], strict=True):
                left, right = joined.named[one][a], joined.named[other][b]
                logger.warning("%s of %s is %s of %s: %s", a, one, b, other, why)
                met.setdefault(left, set()).add(right)
                met.setdefault(right, set()).add(left)
    return met
