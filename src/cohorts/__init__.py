"""Raw folders to manifests, one module per public data set.

Importing this package registers every cohort in `registry.COHORT_REGISTRY`.
"""

from . import bids, kaggle_jpg, kaggle_nifti, oasis, scans
from .phantom import cohort as phantom

__all__ = ["bids", "kaggle_jpg", "kaggle_nifti", "oasis", "phantom", "scans"]
