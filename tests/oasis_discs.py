"""OASIS-1 discs of a few small heads, and the settings that preprocess them."""

import numpy as np
from conftest import ellipsoid, save_analyze

from src.config import RunConfig
from src.config.options import build_config

HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"


def speckled(data, seed):
    """Return `data` with noise in the brain: no two people have a slice in common."""
    noise = np.random.default_rng(seed).integers(-20, 20, data.shape)
    return (data + noise * (data > 0)).astype(np.int16)


def make_oasis(root, cdrs=(0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1, 2, ""), shape=(17, 21, 15)):
    """Write an OASIS-1 tree of one session per CDR; an empty one is not rated."""
    rows = [HEADER]
    for number, cdr in enumerate(cdrs, 1):
        session = f"OAS1_{number:04d}_MR1"
        folder = root / f"disc{number % 3 + 1}" / session / "PROCESSED" / "MPRAGE" / "T88_111"
        data = speckled(ellipsoid(shape, 0.1 + 0.03 * number), number)
        save_analyze(folder / f"{session}_mpr_n4_anon_111_t88_masked_gfc.img", data)
        rows.append(f"{session},{'FM'[number % 2]},R,{60 + number},2,3,29,{cdr},1400,0.75,1.2,N/A")
    (root / "oasis_cross-sectional.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def config(tmp_path, **settings):
    """Return the settings of preprocessing them."""
    defaults = {"dataset": "oasis", "num_slices": 4, "image_size": 32, "volume_size": 32}
    return build_config(
        RunConfig, {**defaults, "data_root": tmp_path / "data", "workers": 1, **settings}
    )
