"""What stages gave, as objects of a notebook: what a JSON file holds, with tables and figures."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from ..auditing.verdicts import FAIL, NOT_KNOWN, WARN
from ..errors import DataNotFoundError, UnknownNameError, counted
from ..report.cross_study import cells_table, in_short, matrix_table, sentences
from ..report.estimates import written
from ..report.stress import about, disease_table, nuisance_table, verdict_table
from ..report.titles import TITLES

_METRIC = "balanced_accuracy"  # told of a pair in a line


class _Report(dict[str, Any]):
    """What a JSON file holds, with its figures.

    Attributes:
        files: Every file that the stage wrote.
    """

    def __init__(self, content: dict[str, Any], files: list[Path]) -> None:
        super().__init__(content)
        self.files = files

    def figures(self) -> list[str]:
        """Return the names that `figure` takes."""
        return [path.stem for path in self.files if path.suffix == ".png"]

    def figure(self, name: str | None = None) -> Image.Image:
        """Return a figure, which a notebook shows.

        Args:
            name: One of `figures`; None takes the first.

        Raises:
            UnknownNameError: There is no such figure of this result.
            DataNotFoundError: None was drawn, or its file is not there any more.
        """
        named = self.figures()
        if not named:
            raise DataNotFoundError("a figure of this result", hint="there was nothing to draw")
        if name is not None and name not in named:
            raise UnknownNameError("figure", name, named)
        with Image.open(self._file(f"{name or named[0]}.png")) as image:
            image.load()
        return image

    def _file(self, name: str) -> Path:
        found = next((path for path in self.files if path.name == name), Path(name))
        if not found.is_file():
            raise DataNotFoundError(found, hint="run it again: the files of this result are gone")
        return found


class AuditReport(_Report):
    """What an audit found; see `audit`.

    Attributes:
        fix: What mends a split that fails; empty where it does not.
    """

    def __init__(self, content: dict[str, Any], files: list[Path], fix: str) -> None:
        super().__init__(content, files)
        self.fix = fix

    @property
    def verdict(self) -> str:
        """``PASS``, ``WARN`` or ``FAIL``."""
        return str(self["verdict"])

    def table(self) -> pd.DataFrame:
        """Return a row for every check: its verdict and what it found, in words."""
        return _in_words(self["checks"])

    def __repr__(self) -> str:
        told = [one["name"] for one in self["checks"] if one["verdict"] in (FAIL, WARN)]
        of = f" ({', '.join(told)})" if told else ""
        return f"AuditReport({self['folder']}: {self.verdict}{of})"

    def _repr_html_(self) -> str:
        head = f"<p><b>{escape(self.verdict)}</b>: {escape(self['folder'])}</p>"
        fix = f"<p>fix: {escape(self.fix)}</p>" if self.fix else ""
        return f"{head}{self.table().to_html(border=0)}{fix}"


class CrossStudies(_Report):
    """Studies tried on each other; see `crossdata`."""

    def matrix(self) -> pd.DataFrame:
        """Return balanced accuracy by study of training (rows) and of the test (columns), as text.

        Where both are the same it is the study's own cross-validation.
        """
        head, rows = matrix_table(self)
        return pd.DataFrame(rows, columns=head).set_index(head[0])

    def table(self) -> pd.DataFrame:
        """Return a row for every cell that is not refused: scores, rivals, what it is read against.

        Estimates are text with their intervals; the numbers stand in ``self["cells"]``.
        """
        head, rows = cells_table(self)
        return pd.DataFrame(rows, columns=head).set_index(head[0])

    def sentences(self) -> list[str]:
        """Return what every cell between studies comes to, refused ones with their reason."""
        return [*filter(None, [in_short(self)]), *sentences(self)]

    def __repr__(self) -> str:
        names = ", ".join(study["name"] for study in self["studies"])
        return f"CrossStudies({names}: {in_short(self) or 'no pair was scored'})"

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{escape(line)}</li>" for line in self.sentences())
        return f"{self.matrix().to_html(border=0)}<ul>{said}</ul>"


class Comparison(_Report):
    """Runs told apart; see `compare`."""

    def table(self) -> pd.DataFrame:
        """Return a row for every metric of every pair: difference, its interval, p and words."""
        rows = []
        for pair in self["pairs"]:
            for one in pair["comparisons"]:
                found = one.get("difference") or {}
                rows.append(
                    {
                        "a": pair["a"],
                        "b": pair["b"],
                        "metric": one["metric"],
                        "difference": found.get("value"),
                        "low": found.get("low"),
                        "high": found.get("high"),
                        "p": one["p"],
                        "p_holm": one["p_holm"],
                    }
                )
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        said = [counted(self["n_people"], "person")]
        for pair in self["pairs"]:
            found = {one["metric"]: one.get("difference") for one in pair["comparisons"]}
            difference = written(found.get(_METRIC), "{:+.2f}".format)
            said.append(f"{pair['a']} - {pair['b']}: {TITLES[_METRIC]} {difference}")
        return f"Comparison({'; '.join(said)})"

    def _repr_html_(self) -> str:
        head = f"<p>{self['n_people']} people</p>"
        return f"{head}{self.table().to_html(border=0, index=False, float_format='{:.3f}'.format)}"


class Maps(_Report):
    """Maps of test people, and whether they passed their tests; see `gradcam`.

    It is a dictionary, what ``explain.json`` holds, and shows itself in a notebook as its verdict
    and its tests.
    """

    @property
    def verdict(self) -> str:
        """``PASS``, ``WARN`` or ``FAIL``; ``NOT KNOWN`` where ``graded=0`` asked for no test."""
        return str(self["grade"]["verdict"]) if self["grade"] else NOT_KNOWN

    def checks(self) -> pd.DataFrame:
        """Return a row for every test of the maps: its verdict and what it found, in words."""
        return _in_words((self["grade"] or {"checks": []})["checks"])

    def table(self) -> pd.DataFrame:
        """Return a row for every map: whose, of which class, and where it is strongest, in mm.

        Raises:
            DataNotFoundError: ``maps.csv`` is not there any more.
        """
        text = {"subject": str, "session": str}
        return pd.read_csv(self._file("maps.csv"), dtype=text)

    def regions(self) -> pd.DataFrame:
        """Return a row for every region and class: its share of the maps, with intervals.

        Raises:
            DataNotFoundError: There are no regions, which says why, or the file is not there.
        """
        if not self["regions"]["available"]:
            raise DataNotFoundError("regions of these maps", hint=str(self["regions"]["reason"]))
        return pd.read_csv(self._file("regions.csv"))

    def figure(self, name: str | None = None) -> Image.Image:
        """Return a figure, which a notebook shows.

        Args:
            name: One of `figures`; None takes ``"grade"``, the tests, or the first where none ran.

        Raises:
            UnknownNameError: There is no such figure of this result.
            DataNotFoundError: None was drawn, or its file is not there any more.
        """
        return super().figure(name or ("grade" if "grade" in self.figures() else None))

    def _said(self) -> str:
        people, maps = counted(self["n_people"], "person"), counted(self["n_maps"], "map")
        return f"{maps} of {people}, {self['method']}, target {self['target']}"

    def __repr__(self) -> str:
        return f"Maps({self['run']}: {self.verdict}; {self._said()})"

    def _repr_html_(self) -> str:
        stamps = "".join(f"<p><b>{escape(stamp)}</b></p>" for stamp in self["stamps"] or [])
        head = f"<p><b>{escape(self.verdict)}</b>: {escape(self._said())}</p>{stamps}"
        return head + (self.checks().to_html(border=0) if self["grade"] else "")


class Stress(_Report):
    """What a model answers to known changes of scans; see `stress`."""

    @property
    def verdict(self) -> str:
        """The worst of the verdicts: ``PASS``, ``WARN``, ``FAIL`` or ``not estimable``."""
        return str(self["verdict"])

    def table(self) -> pd.DataFrame:
        """Return a row for every question: the verdict on each reader, the model's reason."""
        return _framed(verdict_table(self))

    def disease(self) -> pd.DataFrame:
        """Return a row for every structure: its volume at the full dose, and the answer to it."""
        return _framed(disease_table(self))

    def nuisance(self) -> pd.DataFrame:
        """Return a row for all that is no disease: the stages that change at usual strength."""
        return _framed(nuisance_table(self))

    def answers(self) -> pd.DataFrame:
        """Return a row for every reader, scan and change.

        Raises:
            DataNotFoundError: ``stress.csv`` is not there any more.
        """
        return pd.read_csv(self._file("stress.csv"), dtype={"name": str, "subject": str})

    def __repr__(self) -> str:
        return f"Stress({self['run']}: {self.verdict}; {counted(self['n_people'], 'person')})"

    def _repr_html_(self) -> str:
        stamps = "".join(f"<p><b>{escape(stamp)}</b></p>" for stamp in self["stamps"])
        head = f"<p><b>{escape(self.verdict)}</b>: {escape(about(self))}</p>{stamps}"
        return f"{head}{self.table().to_html(border=0)}"


def _framed(table: tuple[list[str], list[list[str]]]) -> pd.DataFrame:
    head, rows = table
    return pd.DataFrame(rows, columns=head).set_index(head[0])


def _in_words(checks: list[dict[str, Any]]) -> pd.DataFrame:
    columns = ["name", "verdict", "sentence"]
    return pd.DataFrame(checks, columns=columns).set_index("name")
