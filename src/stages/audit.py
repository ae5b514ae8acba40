"""Stage ``audit``: is this split honest? For our own data sets and for anybody's folders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from ..auditing.audit import Audit, audit_folder, format_audit
from ..auditing.figure import pairs_figure
from ..auditing.mend import how_to_mend
from ..config import RunConfig, dataset_flags
from ..errors import AuditFailed, DataNotFoundError
from ..files import write_json

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Audit the folder that ``--data_dir`` or ``--dataset`` names.

    Yields:
        ``audit.json``, and ``audit.png`` where two sides were compared.

    Raises:
        DataNotFoundError: There is no such folder, or no image in it.
        AuditFailed: A check fails; everything is written before.
    """
    folder = config.data.data_dir or config.data.processed_dir
    name = config.run or (folder.resolve().name if config.data.data_dir else config.data.name)
    if not folder.is_dir():
        flags = dataset_flags(config.data.name, config.data.cohort)
        hint = f"python main.py --mode preprocess {flags}"
        raise DataNotFoundError(folder, hint=f"{hint}, or name a folder with --data_dir")
    audit = audit_folder(folder, config.data.model_dim, seed=config.data.seed)
    logger.info("%s", format_audit(audit.report))
    out = config.results_dir / (name or "audit") / "audit"
    yield write_json(out / "audit.json", audit.report)
    if audit.pairs:
        yield _draw(out / "audit.png", audit)
    if audit.failed:
        details = f"what was found stands in {out / 'audit.json'}"
        raise AuditFailed(
            f"{folder} is no honest split: {', '.join(audit.failed)}",
            hint=f"{how_to_mend(folder, audit.failed, config.data.model_dim)}; {details}",
        )


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
