"""What ``--tasks`` and ``--task_weights`` say: names in one order, and a weight for each."""

from __future__ import annotations

import math

from ..errors import UnknownNameError
from .ranges import require

#: What a network can be asked beside the stage, in this order: years, points, F or M.
BESIDE = ("age", "mmse", "sex")
STAGE = "stage"
TASKS = (STAGE, *BESIDE)
LEARNT = "learnt"
#: What says of a kept training that it learns the stage alone, as those of older versions do.
NO_TASKS = dict.fromkeys(("tasks", "task_weights"))


def read_tasks(text: str) -> tuple[str, ...]:
    """Return the tasks that a text names, the stage first where it is one of them.

    Args:
        text: Names joined by commas, in any order: ``stage,age``.

    Raises:
        UnknownNameError: A name is no task.
        ConfigError: A task stands twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in TASKS:
            raise UnknownNameError("task", name, TASKS)
    twice = next((name for name in TASKS if names.count(name) > 1), None)
    require(twice is None, f"--tasks {text} names {twice} twice")
    return tuple(name for name in TASKS if name in names)


def read_task_weights(text: str, tasks: tuple[str, ...]) -> dict[str, float] | None:
    """Return the weight of each task beside the stage, whose own is 1; None where they are learnt.

    One task that is learnt alone has 1: there is nothing to weigh it against.

    Args:
        text: `LEARNT`, or ``age=0.5,mmse=1``; a task that it does not name has 1.
        tasks: As `read_tasks` returns them.

    Raises:
        UnknownNameError: A name is no task.
        ConfigError: A weight is no number above 0, stands twice, or is of a task that is not
            learnt.
    """
    weights = {name: 1.0 for name in tasks if name != STAGE}
    if text == LEARNT:
        return weights if len(tasks) == 1 else None
    seen: set[str] = set()
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in BESIDE:
            raise UnknownNameError("task to weigh", name, BESIDE)
        require(name in weights, f"--task_weights weighs {name}, which --tasks does not name")
        require(name not in seen, f"--task_weights {text} names {name} twice")
        seen.add(name)
        weights[name] = _weight(name, number)
    return weights


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    require(
        0 < weight <= 1000,
        f"--task_weights {name}={text or '?'} is no number above 0 and up to 1000",
    )
    return weight
