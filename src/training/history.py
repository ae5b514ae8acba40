"""How a training went, in a notebook: a dictionary that draws itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from ..errors import ConfigError, counted
from ..report.score_figures.training import penalty_figure, training_figure
from .state import rank


class History(dict[str, Any]):
    """Lists by epoch, or by penalty of a frozen model's head; see `Trainer.train`.

    Example:
        >>> history = Trainer(model, train_loader, test_loader).train(10)
        >>> history.plot()
    """

    def table(self) -> pd.DataFrame:
        """Return a row for every epoch, or for every penalty that was tried."""
        columns = {name: values for name, values in self.items() if isinstance(values, list)}
        return pd.DataFrame(columns)

    def plot(self, title: str = "Training") -> Image.Image:
        """Return losses and validation scores by epoch as a figure, which a notebook shows."""
        draw = penalty_figure if "strength" in self else training_figure
        with tempfile.TemporaryDirectory() as folder:
            path = draw(Path(folder) / "curves.png", self, title)
            with Image.open(path) as image:
                image.load()
        return image

    def __repr__(self) -> str:
        """Return one line; ``dict(history)`` shows everything."""
        if "best_strength" in self:
            tried = counted(len(self["strength"]), "penalty", "penalties")
            best, score = f"{self['best_strength']:.2g}", self["val_balanced_accuracy"]
        elif self.get("best_epoch"):
            tried, best = counted(len(self["epoch"]), "epoch"), str(self["best_epoch"])
            place = self["epoch"].index(self["best_epoch"])
            if "val_balanced_accuracy" not in self:
                loss = self["val_loss"][place]
                return f"History({tried}, best {best}: validation loss {loss:.2f})"
            score = self["val_balanced_accuracy"][place]
        else:
            return f"History({dict(self)!r})"
        return f"History({tried}, best {best}: validation balanced accuracy {score:.2f})"

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format="{:.4g}".format, index=False, border=0))


class LiveCurve:
    """The curves of a training that is going on, drawn again in one place of a notebook.

    Raises:
        ConfigError: This is no notebook.
    """

    def __init__(self) -> None:
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            get_ipython = None
        if get_ipython is None or get_ipython() is None:
            raise ConfigError(
                "plot=True draws in a notebook, and this is none", hint="history.plot(), afterwards"
            )
        self._display: Any = display
        self._handle: Any = None
        self._rows: list[dict[str, float]] = []

    def __call__(self, row: dict[str, float]) -> None:
        """Draw the epochs so far and this one, a row of the history."""
        self._rows.append(row)
        history = History({name: [one[name] for one in self._rows] for name in row})
        history["best_epoch"] = max(self._rows, key=rank)["epoch"]
        if self._handle is None:
            self._handle = self._display(history.plot(), display_id=True)
        else:
            self._handle.update(history.plot())
