"""Stage ``audit``: is this split honest? For our own data sets and for anybody's folders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from ..auditing.audit import Audit, audit_folder, format_audit
from ..auditing.figure import pairs_figure
from ..auditing.mend import how_to_mend
from ..auditing.overlap import format_overlap, overlap
from ..auditing.verdicts import FAIL
from ..config import RunConfig, dataset_flags
from ..errors import AuditFailed, ConfigError, DataNotFoundError
from ..files import write_json

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Audit the folder that ``--data_dir`` or ``--dataset`` names, alone or beside another.

    Yields:
        ``audit.json``, and ``audit.png`` where two sides were compared.

    Raises:
        DataNotFoundError: There is no such folder, or no image in it.
        AuditFailed: A check fails; everything is written before.
    """
    if config.data.against is not None:
        yield from _compare(config, config.data.against)
        return
    if config.evaluate.checkpoint is not None:
        raise ConfigError(
            "--mode audit looks at a checkpoint's people beside those of another",
            hint="--against FILE: a split file, a data set or another checkpoint",
        )
    folder = config.data.data_dir or config.data.processed_dir
    if folder.is_file():
        raise ConfigError(
            f"{folder} is a file, and a folder of images is audited alone",
            hint="--against FILE names another split or study to compare it with",
        )
    if not folder.is_dir():
        flags = dataset_flags(config.data.name, config.data.cohort)
        hint = f"python main.py --mode preprocess {flags}"
        raise DataNotFoundError(folder, hint=f"{hint}, or name a folder with --data_dir")
    audit = audit_folder(folder, config.data.model_dim, seed=config.data.seed)
    logger.info("%s", format_audit(audit.report))
    out = config.audit_dir
    yield write_json(out / "audit.json", audit.report)
    if audit.pairs:
        yield _draw(out / "audit.png", audit)
    if audit.failed:
        details = f"what was found stands in {out / 'audit.json'}"
        raise AuditFailed(
            f"{folder} is no honest split: {', '.join(audit.failed)}",
            hint=f"{how_to_mend(folder, audit.failed, config.data.model_dim)}; {details}",
        )


def _compare(config: RunConfig, against: Path) -> Iterator[Path]:
    """Look for the people of one split, study or checkpoint in another."""
    named, folder = config.evaluate.checkpoint, config.data.data_dir
    if named is not None and folder is not None:
        raise ConfigError(
            "--against compares two, and --checkpoint and --data_dir name two already",
            hint="leave --data_dir out, and give its path to --against",
        )
    first = named or folder or config.data.processed_dir
    found = overlap(first, against, seed=config.data.seed, checkpoint_people=_people_of)
    logger.info("%s", format_overlap(found))
    out = config.audit_dir
    yield write_json(out / "audit.json", found)
    failed = [check["name"] for check in found["checks"] if check["verdict"] == FAIL]
    if failed:
        raise AuditFailed(
            f"{first} and {against} are no test of each other: {', '.join(failed)}",
            hint=f"{found['mend']}; who they are stands in {out / 'audit.json'}",
        )


def _people_of(path: Path) -> list[str]:
    """Return the hashes of the people that a checkpoint, or its first weights, learnt from."""
    from ..models.checkpoint import load_checkpoint  # torch, only where a checkpoint is named
    from ..models.weight_card import card_of_checkpoint

    return sorted(card_of_checkpoint(load_checkpoint(path)).people)


def _draw(path: Path, audit: Audit) -> Path:
    limits, name = audit.report["thresholds"], Path(audit.report["folder"]).name
    head = limits["same_head"]["likeness"]
    same = f"likeness from {head:.2f} on: one head" if head is not None else "likeness says nothing"
    caption = (
        f"Each image of the later side beside the earlier side's most similar. Agreement from "
        f"{limits['nearly_identical']['agreement']:.2f} on: nearly identical; {same}."
    )
    title = f"Audit of {name}: {audit.report['verdict']}"
    return pairs_figure(path, audit.pairs, title, caption, audit.stamps)
