"""Raw folders to manifests, one module per public data set.

Importing this package registers every cohort in `registry.COHORT_REGISTRY`.
"""

from . import (  # noqa: F401 - each registers itself
    bids,
    kaggle_jpg,
    kaggle_nifti,
    oasis,
    scans,
)
from .phantom import cohort  # noqa: F401
