"""Stage ``compare``: tell two or more scored runs apart, on the people that all of them scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config import RunConfig
from ..errors import ConfigError
from ..evaluation.run_comparison import compare_runs
from ..evaluation.scored_runs import find_run, name_runs


def run(config: RunConfig) -> Iterator[Path]:
    """Compare ``config.runs``: names below the results folder, or paths of results folders.

    Yields:
        ``compare.json``, ``compare.md`` and ``compare.png``, below ``compare`` in the results.

    Raises:
        ConfigError: Under two runs, one of them twice, or too few people in common.
        DataNotFoundError: There is no such run; the message names the nearest ones.
        ResultError: A result is damaged or too old, or two disagree on a person's class.
    """
    if len(config.runs) < 2:
        raise ConfigError(
            f"runs to compare: {len(config.runs)}, not two or more",
            hint="python main.py --mode compare RUN RUN",
        )
    folders = [find_run(config.results_dir, name) for name in config.runs]
    out = config.results_dir / "compare" / _folder_name(name_runs(folders))
    yield from compare_runs(folders, out, config.evaluate.bootstrap, config.data.seed)


def _folder_name(names: Sequence[str]) -> str:
    """Return ``a_vs_b``, shortened so that every file system takes it."""
    name = "_vs_".join(one.strip("/").replace("/", "_") for one in names)
    if len(name.encode()) <= 200:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    return f"{len(names)}_runs_{digest}"
