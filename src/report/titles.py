"""How each metric is written, in every table, figure, page and comparison.

`evaluation.metrics.scores` computes metrics; what a reader sees of them stands here, once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Title:
    """What a reader sees of a metric.

    Attributes:
        text: Its name; for people, and safe in Markdown.
        column: Whether it is a column of Table 1 in ``metrics.md`` and in the report.
        less_is_better: Whether a good model has little of it.
    """

    text: str
    column: bool = True
    less_is_better: bool = False


#: Key in ``metrics.json`` -> how it is written, in the order of Table 1.
METRIC_TITLES = {
    "balanced_accuracy": Title("balanced accuracy"),
    "macro_auc": Title("macro AUC"),
    "auc_demented": Title("AUC of CDR 0 v > 0", column=False),
    "quadratic_kappa": Title("quadratic kappa"),
    "macro_f1": Title("macro F1", column=False),
    "accuracy": Title("accuracy"),
    "within_one": Title("within one stage", column=False),
    "mae_stages": Title("MAE in stages", less_is_better=True),
    "brier": Title("Brier score", less_is_better=True),
    "log_loss": Title("log-loss", less_is_better=True),
}
TITLES = {name: title.text for name, title in METRIC_TITLES.items()}
#: What a network says beside the stage, as it is written inside a sentence.
TASK_NAMES = {"age": "age", "mmse": "MMSE", "sex": "sex"}
COLUMNS = tuple(name for name, title in METRIC_TITLES.items() if title.column)
LESS_IS_BETTER = frozenset(name for name, title in METRIC_TITLES.items() if title.less_is_better)
