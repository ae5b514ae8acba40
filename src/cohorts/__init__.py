"""Raw folders to manifests, one module per public data set.

Importing this package registers every cohort in `registry.COHORT_REGISTRY`.
"""

from . import (  # noqa: F401 - each registers itself
    adni,
    bids,
    kaggle_jpg,
    kaggle_nifti,
    oasis,
    oasis2,
    oasis3,
    scans,
)
from .phantom import cohort  # noqa: F401
