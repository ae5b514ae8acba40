"""A scored run in a notebook: its answer, its tables and its figures."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import DataNotFoundError, UnknownNameError, counted
from ..report.answer import answer
from ..report.estimates import counts_of, of_metric
from ..report.titles import TITLES

_MODEL = "this model"
#: What is told of a result in a line.
_MAIN = ("balanced_accuracy", "macro_auc")


class Results(dict[str, Any]):
    """What ``metrics.json`` holds, described in ``docs/metrics.md``, and ``files``, the paths.

    It is a dictionary, and shows itself in a notebook as its answer and its main scores.

    Example:
        >>> results = Evaluator(model, test_loader).full_evaluation("results/mine")
        >>> results.table()
        >>> results.figure("roc")
    """

    def table(self) -> pd.DataFrame:
        """Return a row for every metric of people: ``value``, ``low``, ``high``, ``n_people``.

        ``low`` and ``high`` are the ends of the 95 % interval; missing where there is none.
        """
        person = self["person"]
        rows = {TITLES.get(name, name): values for name, values in person["metrics"].items()}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
        table = table.astype(float)
        table.loc[table["low"] == table["high"], ["low", "high"]] = (
            np.nan
        )  # resampling told nothing
        return table.assign(n_people=person["n_people"])

    def rivals(self) -> pd.DataFrame:
        """Return a row for the model and each rival: every metric's value, missing if unknown."""
        scored = {_MODEL: self["person"]["metrics"]}
        scored |= {one["title"]: one.get("metrics") or {} for one in self["rivals"] or []}
        rows = {
            who: {TITLES[name]: (metrics.get(name) or {}).get("value") for name in TITLES}
            for who, metrics in scored.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").astype(float)

    def people(self) -> pd.DataFrame:
        """Return a row for every scored person: stage, class, answer and probabilities.

        Raises:
            DataNotFoundError: ``people.csv`` is not there any more.
        """
        return pd.read_csv(self._file("people.csv"), dtype={"subject": str})

    def figures(self) -> list[str]:
        """Return the names that `figure` takes."""
        return [Path(path).stem for path in self["files"] if str(path).endswith(".png")]

    def figure(self, name: str) -> Image.Image:
        """Return a figure, which a notebook shows.

        Args:
            name: One of `figures`, such as ``"roc"`` or ``"rivals"``.

        Raises:
            UnknownNameError: There is no such figure of this result.
            DataNotFoundError: Its file is not there any more.
        """
        if name not in self.figures():
            raise UnknownNameError("figure", name, self.figures())
        with Image.open(self._file(f"{name}.png")) as image:
            image.load()
        return image

    def _file(self, name: str) -> Path:
        found = [Path(path) for path in self["files"] if Path(path).name == name]
        if not found or not found[0].is_file():
            where = found[0] if found else Path(name)
            raise DataNotFoundError(where, hint="score again: the files of this result are gone")
        return found[0]

    def __repr__(self) -> str:
        """Return one line; ``dict(results)`` shows everything."""
        if "person" not in self:
            return f"Results({dict(self)!r})"
        person, counts = self["person"], counts_of(self["person"])
        scores = [
            f"{TITLES[name]} {of_metric(name, person['metrics'][name], counts, '{:.2f}'.format)}"
            for name in _MAIN
        ]
        stamps = self["stamps"] or []
        said = [counted(person["n_people"], "person"), *scores, *stamps]
        return f"Results({self['run']}: {', '.join(said)})"

    def _repr_html_(self) -> str:
        stamps = "".join(f"<p><b>{escape(stamp)}</b></p>" for stamp in self["stamps"] or [])
        table = self.table().to_html(float_format="{:.3f}".format, na_rep="", border=0)
        return f"<p>{escape(answer(self))}</p>{stamps}{table}"
