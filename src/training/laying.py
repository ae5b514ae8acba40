"""Where training people lie in MNI space, for networks that see volumes there (`models.qiu`)."""

from __future__ import annotations

import logging

import numpy as np

from ..config import DEFAULT_BACKBONE
from ..data.dataset import MriDataset
from ..data.sessions import MeanImage, make_session, mean_image, rows_by_session
from ..errors import ConfigError, ImageError
from ..models.classifier import Classifier
from ..models.qiu import grey_of, laid_of
from ..preprocessing.space.grid import PlacedVolume
from ..preprocessing.space.placement import Placement, fit_placement, in_template
from ..preprocessing.space.template import template

logger = logging.getLogger(__name__)
_AVERAGED = 20  # scans in the mean image that finds the template


def lay_in_mni(model: Classifier, data: MriDataset, *, anew: bool = False) -> None:
    """Tell a network that needs it where the volumes of a data set lie in MNI space.

    Scans of a cohort share a frame, so one affine map serves all of them. It is fitted to the mean
    of some of them, without their labels, once: a network that knows it keeps it. Of a slab it is
    also told which share of a head's brightness the template has there.

    Args:
        model: Changed in place where its first module is a `LaidInMni` that was not placed.
        data: Volumes.
        anew: Also lay a network that knows where others lay: these are of another study.

    Raises:
        ConfigError: The volumes do not share a frame, were cut to each brain, or are found nowhere
            in the template.
    """
    laid = laid_of(model)
    if laid is None or (laid.placed and not anew):
        return
    by_session = list(rows_by_session(data))
    some = by_session[:: -(-len(by_session) // _AVERAGED)]
    hint = f"--backbone {DEFAULT_BACKBONE['3d']}, or another that takes volumes as they lie"
    try:
        sessions = [make_session(data, *one) for one in some]
        mean = mean_image(data, sessions)
    except ImageError as error:
        raise ConfigError(f"{model.backbone} needs MNI space: {error.message}", hint=hint) from None
    own = [next(iter(session.record.matrices.values())) for session in sessions]
    if not all(np.allclose(matrix, own[0], atol=1e-3) for matrix in own):
        raise ConfigError(
            f"{model.backbone} needs one frame, and these volumes were cut to each person's brain",
            hint="preprocess again with --field whole",
        )
    placement = fit_placement(mean.data, mean.frame.to_ras, mean.covered)
    if placement.reason:
        reason = f"{model.backbone} needs MNI space: {placement.reason}"
        raise ConfigError(reason, hint=hint)
    shown = _share_shown(mean, placement)
    laid.place(placement.matrix @ mean.frame.to_ras @ own[0])
    grey_of(model).shown.fill_(shown)
    logger.info(
        "volumes are laid into MNI space: their mean has a correlation of %.2f with the template, "
        "and they show %.0f %% of a head's brightness",
        *(placement.correlation, 100 * shown),
    )


def _share_shown(mean: MeanImage, placement: Placement) -> float:
    """Return the share of the template's brightness that lies where scans were imaged, 0 to 1."""
    box = PlacedVolume(mean.covered.astype(np.float32), np.eye(4), mean.frame)
    there, _ = in_template(box, placement, order=0)
    t1 = template().t1
    return float(t1[there > 0.5].sum() / t1.sum())
