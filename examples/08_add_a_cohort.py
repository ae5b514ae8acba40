"""
Add a cohort: your study in thirty lines
========================================

Your study has its own folders and its own table. A function of a few lines tells the project how to
read them. From there on everything works as for the studies that are built in.

Research use only. The study here is made of grey ellipsoids, so that you see each step.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/08_add_a_cohort.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import sklearn
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict

sys.path.insert(0, str(Path.cwd()))

from src import Manifest, StageClassifier, arrays, preprocess, register_cohort
from src.cohorts.person_values import key_column, person_values
from src.cohorts.text_table import read_text_table

WORK = Path(tempfile.mkdtemp())
STUDY = WORK / "data" / "clinic"

# %%
# 1. The study, as it lies on the disk
# ------------------------------------
#
# 24 people, each scanned once or twice, and ``people.csv``. A dark hole from below to above grows
# with the disease, from person to person by other amounts.
rng = np.random.default_rng(0)
STUDY.mkdir(parents=True)
axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in (36, 40, 33)], indexing="ij")
radius = np.sqrt(sum(axis**2 for axis in axes))
rows = []
for number in range(24):
    cdr = number % 3 / 2
    hole = 0.25 + 0.2 * cdr + 0.03 * rng.standard_normal()
    for visit in range(1 + number % 2):
        head = np.where(radius < 1, 800, 0)
        head[(radius < 1) & (np.hypot(*axes[:2]) < hole)] = 150
        head = (head + rng.normal(0, 20, head.shape) * (radius < 1)).astype(np.int16)
        scan = f"c{number:02d}_{visit}.nii.gz"
        nib.save(nib.Nifti1Image(head, np.diag([4.0, 4, 4, 1])), STUDY / scan)
        rows.append({"id": f"c{number:02d}", "visit": visit, "scan": scan, "cdr": cdr})
        rows[-1] |= {"age": 60 + number, "sex": "FM"[number % 2]}
pd.DataFrame(rows).to_csv(STUDY / "people.csv", index=False)
print(pd.DataFrame(rows).head(4).to_string(index=False))

# %%
# 2. The function that reads it
# -----------------------------
#
# It returns a *manifest*: a row for each scan. It opens no image. ``subject`` is the person and
# never the visit, because people are divided by it. A stage that is missing stays empty.
# `person_values` knows how columns are usually called, and refuses a CDR that does not exist.
#
# The decorator tells what is known of the study. ``axes=None``: the header of each file says where
# left, front and top are. ``side_known``: left and right can be told apart.


@register_cohort("clinic", homepage="https://example.org", axes=None, side_known=True)
def index_clinic(root: Path) -> Manifest:
    """List the scans of ``people.csv``."""
    path = root / "people.csv"
    table = read_text_table(path, hint="columns id, visit, scan, cdr, age, sex")
    ids = table[key_column(table, "id", path, hint="a column id")]
    values = person_values(table, ids, path)
    return Manifest.from_columns(
        root, cohort="clinic", subject=ids, session=table["visit"], path=table["scan"], **values
    )


# %%
# That is all: its processed data are called ``clinic_2d`` and ``clinic_3d``. (So that the shell
# knows it as well, ``--dataset clinic``, the function moves into the project: see "Add a cohort" in
# ``CONTRIBUTING.md``.)
#
# 3. Preprocess it
# ----------------
manifest = preprocess("clinic_2d", data_root=WORK / "data", num_slices=3, image_size=64, workers=1)
print(manifest.table.groupby("split")["subject"].nunique().to_string())

images, stages, people = arrays(manifest)
print(len(images), "images of", len(set(people)), "people")
figure, panels = plt.subplots(1, 3, figsize=(6, 2.4), layout="constrained")
for panel, stage in zip(panels, list(dict.fromkeys(stages)), strict=True):
    panel.imshow(images[np.flatnonzero(stages == stage)[1]], cmap="gray")
    panel.set_title(stage, fontsize=10)
    panel.set_axis_off()

# %%
# 4. Train with scikit-learn, by person
# -------------------------------------
#
# `StageClassifier` is a frozen network with a head of ordered stages. It has the methods of
# scikit-learn, so a search over settings is one line. The features of an image are computed once,
# however many settings are tried.
#
# ``groups=people`` is the important part. Without it, slices of one person would lie in several
# folds, and the search would choose the setting that knows faces best. The first line lets
# scikit-learn hand the people to every fit as well, and not to the folds alone.
#
# ``StratifiedGroupKFold`` also gives each fold people of every stage. Plain ``GroupKFold`` looks at
# nothing but the people. In this study it would put one stage into each fold, by bad luck of the
# order, and every model would be asked for a stage that it has never seen.
sklearn.set_config(enable_metadata_routing=True)
folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
grid = {"loss": ["ordinal", "ce"], "class_weight_cap": [1.0, 10.0]}
search = GridSearchCV(
    StageClassifier(device="cpu"), grid, cv=folds, scoring="balanced_accuracy"
).fit(images, stages, groups=people)
print("chosen:", search.best_params_)
print(f"balanced accuracy of its folds: {search.best_score_:.2f}; guessing gives 0.33")

# %%
# That score is a little too good: of four settings the best was taken, on the same folds. For an
# honest one, search anew inside each outer fold, or keep people aside whom no search saw. Here is
# what the chosen setting says of people who were left out:
chosen = StageClassifier(device="cpu", **search.best_params_)
said = cross_val_predict(chosen, images, stages, cv=folds, params={"groups": people})
print(pd.crosstab(pd.Series(stages, name="true"), pd.Series(said, name="said")).to_string())

# %%
# Rows are true stages, columns are answers, numbers are images. Stages that lie beside each other
# should be mixed up more often than those that lie apart. Three images of a person are no three
# people: count people before you call a difference real.
#
# What can go wrong: an ``id`` that is one per visit and not one per person. The project cannot know
# that. Then one person is on two sides, and every score is too good.
plt.show()
