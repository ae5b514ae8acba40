"""placeholder"""

import pandas as pd

from ..manifest import Manifest


def shared_people(a: Manifest, b: Manifest) -> pd.DataFrame:
    """X"""
    return pd.DataFrame(columns=["subject_a", "subject_b", "why"])
