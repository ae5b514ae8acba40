"""
Your own scans: a folder and a table
====================================

You have a folder of scans and a table that says who is who. This script shows what the project
makes of them, what it notices while it reads them, and what can go wrong.

Research use only. The scans here are phantoms: computed heads, which stand in for yours.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/02_own_scans.py``. All that it
# writes goes into a temporary folder. The log is turned on, because in this script the log is the
# lesson.
import logging
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path.cwd()))

from src import create_data_loaders, preprocess
from src.errors import ManifestError

WORK = Path(tempfile.mkdtemp())
SCANS = WORK / "my_scans"
logging.basicConfig(level=logging.WARNING, format="log: %(message)s", stream=sys.stdout)

# %%
# 1. A folder of scans
# --------------------
#
# First we make the folder that you already have: 18 phantoms, one NIfTI file each. ``P03_MR1`` is
# the first scan of the person ``P03``. A NIfTI file has an *affine*, 4 x 4 numbers that say where
# each voxel lies in the head. One file has lost it, as happens when scans pass through many hands.
preprocess(
    "phantom_2d",
    phantom_subjects=16,
    phantom_voxel=4.0,
    num_slices=1,
    image_size=32,
    data_root=WORK / "made",
    workers=1,
)
table = pd.read_csv(WORK / "made" / "phantom" / "phantom_cross-sectional.csv")
SCANS.mkdir()
rows = []
for found in sorted((WORK / "made" / "phantom").rglob("*_MR1_*masked_gfc.img")):
    person = found.name[:9]
    known = table.set_index("ID").loc[f"{person}_MR1"]
    truth = nib.load(WORK / "made" / "phantom" / "truth" / f"{person}_change.nii.gz")
    voxels = np.asarray(nib.load(found).dataobj).squeeze()
    name = f"P{len(rows) + 1:02d}_MR1"
    scan = nib.Nifti1Image(voxels, truth.affine)
    if name == "P05_MR1":  # as some programs leave it: nobody knows which side is left
        scan.set_sform(None, code=0)
        scan.set_qform(None, code=0)
    nib.save(scan, SCANS / f"{name}.nii.gz")
    rows.append({"name": name, "age": known["Age"], "sex": known["M/F"], "CDR": known["CDR"]})
print(len(rows), "scans, such as", min(SCANS.iterdir()).name)

# %%
# 2. A table of the people
# ------------------------
#
# ``scans.csv`` lies beside the scans, with a row for each. Only ``name`` must be there. ``CDR`` is
# the Clinical Dementia Rating: 0 healthy, 0.5 very mild, 1 mild, 2 moderate. An empty CDR means
# "not rated". It never means "healthy".
people = pd.DataFrame(rows)
people.to_csv(SCANS / "scans.csv", index=False)
print(people.head(4).to_string(index=False))

# %%
# 3. Tables have mistakes
# -----------------------
#
# A CDR of 5 does not exist. The project does not guess what was meant. It stops, and says where.
settings = {
    "data_dir": SCANS,
    "data_root": WORK / "data",
    "num_slices": 4,
    "image_size": 64,
    "test_fraction": 0.4,
    "val_fraction": 0.2,
    "brain": "none",
    "n4": False,
    "register": False,
    "workers": 1,
}
wrong = people.astype({"CDR": float})
wrong.loc[0, "CDR"] = 5
wrong.to_csv(SCANS / "scans.csv", index=False)
try:
    preprocess("scans_2d", **settings)
except ManifestError as error:
    print("refused:", error)

# %%
# Other mistakes do not stop it, because they may be no mistakes: a row without a scan, a scan
# without a row, a row too many. They are told in the log, with a count and one example.
people.assign(name=people["name"].replace("P04_MR1", "P40_MR1")).to_csv(
    SCANS / "scans.csv", index=False
)
manifest = preprocess("scans_2d", **settings)

# %%
# Read such lines. Here one person lost the stage because of a typing error. We mend the table and
# make the data set again. What is done is kept: only what changed is made anew.
people.to_csv(SCANS / "scans.csv", index=False)
manifest = preprocess("scans_2d", **settings)

# %%
# 4. What came out
# ----------------
#
# ``manifest.csv`` has a row for every image: whom it shows, which slice, which stage, and on which
# *side* the person is. Sides are by person: all slices of one are in train, in val (validation,
# where choices are made) or in test. A network that saw one slice of a person would recognise the
# next one, and its score would be worth nothing.
print(manifest.table.groupby(["split", "label"])["subject"].nunique().unstack(fill_value=0))

# %%
# ``quality.csv`` has numbers on every scan that was brought to the standard. ``flags`` says what
# was noticed. Look at it before you train: a flag is a question, not a verdict.
quality = pd.read_csv(WORK / "data" / "scans_standard" / "quality.csv", keep_default_na=False)
print(quality["flags"].replace("", "none").value_counts().to_string())

# %%
# Real heads have a skull, lie anywhere, and are unevenly bright. For those leave out ``brain``,
# ``n4`` and ``register``: the defaults find the brain, even out the brightness and lay each head
# on a template, in about nine seconds a scan. They need ``pip install ".[scans]"``. Phantoms have
# no skull and lie in place already, so we turned the three off.
#
# 5. Look at your images
# ----------------------
#
# Do this with every data set, before anything is trained. No test finds what a look finds: heads
# upside down, empty slices, a label burnt into the picture.
train_loader, test_loader = create_data_loaders(manifest.root, num_classes=2, batch_size=16)
images, labels = next(iter(train_loader))
print("a batch:", tuple(images.shape), "grey levels", int(images.min()), "to", int(images.max()))

figure, panels = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for panel, image, label in zip(panels.flat, images, labels, strict=False):
    panel.imshow(image[0], cmap="gray")
    panel.set_title("CDR 0" if label == 0 else "CDR > 0", fontsize=9)
    panel.set_axis_off()
figure.suptitle("Ten training images, in random order")

# %%
# What can go wrong from here on:
#
# - Two scans of one person under two names count as two people. Give them one ``subject`` in the
#   table: the name alone may not tell.
# - If nobody is named, every result carries the stamp "people unknown". Take it seriously.
# - Eighteen people are far too few to learn anything. See ``04_honest_evaluation.py``.
plt.show()
