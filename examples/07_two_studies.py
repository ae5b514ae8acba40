"""
Two studies: train here, test there
===================================

A model that is good in one hospital is often worse in the next. The people differ, and so do the
scanners. Testing on people of another study is called *external validation*. Nothing else tells you
how much of a score travels.

Research use only. Both studies are phantoms.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/07_two_studies.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

sys.path.insert(0, str(Path.cwd()))

from src import Trainer, compare, create_data_loaders, create_model, crossval, evaluate, preprocess
from src.errors import LeakageError

WORK = Path(tempfile.mkdtemp())
IMAGES = {"num_slices": 4, "image_size": 64, "workers": 1}
PLACES = {
    "data_root": WORK / "data",
    "results_dir": WORK / "results",
    "checkpoint_dir": WORK / "checkpoints",
    "device": "cpu",
}

# %%
# 1. Study A, where we train
# --------------------------
#
# 48 rated phantoms whose disease is strong and whose healthy heads are alike. An easy study.
study_a = preprocess(
    "phantom_2d",
    phantom_subjects=48,
    phantom_voxel=4.0,
    test_fraction=0.4,
    **IMAGES,
    **PLACES,
)
train_loader, _ = create_data_loaders(study_a.root, num_classes=2)
model = create_model("2d", num_classes=2, freeze_backbone=True, ordinal=True)
Trainer(model, train_loader, device="cpu").train(save_dir=WORK / "checkpoints" / "study_a")
CHECKPOINT = WORK / "checkpoints" / "study_a" / "best_model.pth"

# %%
# 2. Study B, from elsewhere
# --------------------------
#
# Other people (``seed``), milder disease (``phantom_effect``), and healthy heads that differ
# (``phantom_variety``). ``study`` names the data set, so that it is not study A made anew.
preprocess(
    "phantom_2d",
    study="b",
    phantom_subjects=40,
    phantom_voxel=4.0,
    phantom_effect=0.5,
    phantom_variety=1.0,
    seed=5,
    **IMAGES,
    **PLACES,
)

# %%
# Both studies were preprocessed with the same settings. If they were not, the model would be
# refused: it may only see images that were made like those it learnt from.
#
# 3. The score at home and the score abroad
# -----------------------------------------
#
# At home these are the test people of study A. Abroad it is everyone of study B.
SCORED = {"checkpoint": CHECKPOINT, "bootstrap": 500, "classes": 2, "report": False, **PLACES}
home = evaluate("phantom_2d", run="home", **SCORED)
abroad = evaluate("phantom_2d", study="b", run="abroad", **SCORED)
rows = {"at home": home.table(), "abroad": abroad.table()}
both = pd.concat({name: one.loc[["balanced accuracy", "macro AUC"]] for name, one in rows.items()})
print(both.round(2).to_string())

# %%
# ``low`` and ``high`` are the ends of the 95 % interval. Where the two intervals overlap widely,
# the fall may be chance.
#
# 4. Drift: what moved
# --------------------
#
# The scores of study B are held against those of the *validation people* of study A: those whom a
# model was asked about that had been fitted without them. ``value`` is abroad minus home, with its
# interval. If 0 is outside of the interval, the score has moved.
drift = abroad["external"]["drift"]
moved = pd.DataFrame({name: one["difference"] for name, one in drift.items()}).T
print(moved.astype(float).round(2).to_string())
print(abroad["external"]["sentence"])

# %%
# "No drift that these people could show" is not "no drift". Look how wide the intervals are: with
# so few people a fall of twenty points can hide in them.
#
# ``brier`` and ``log_loss`` are errors of the probabilities: smaller is better. ``slope`` should be
# 1 in each study. Under 1 a model is too sure of itself, over 1 it is not sure enough. A score can
# travel well while its probabilities do not, and whoever decides by a threshold is hurt by that.
figure, axes = plt.subplots(figsize=(6, 4.6), layout="constrained")
axes.imshow(abroad.figure("calibration"))
axes.set_axis_off()

# %%
# 5. Would a model of their own be better?
# ----------------------------------------
#
# Study B can be answered by its own folds. `compare` tells two runs apart on the people that both
# scored: here the model from elsewhere, and the one of study B's own people.
crossval(
    "phantom_2d",
    study="b",
    freeze_backbone=True,
    classes=2,
    folds=2,
    repeats=1,
    bootstrap=500,
    workers=1,
    run="own",
    report=False,
    **PLACES,
)
told = compare("own", "abroad", bootstrap=500, results_dir=WORK / "results")
columns = ["metric", "difference", "low", "high", "p_holm"]
print(told.table()[columns].round(3).to_string(index=False))

# %%
# ``difference`` is the first run minus the second. ``p_holm`` is a p value that was made stricter
# because several scores are compared at once. Over 0.05 it means: these people cannot tell the two
# models apart. It does not mean that they are equal.
#
# 6. What is no external validation
# ---------------------------------
#
# The same people under other names. The Kaggle pictures are slices of OASIS-1, so a model of one is
# not tested by the other. The project knows that. It also refuses people whom the model was
# trained on, in whatever folder they lie. It goes by their names (as one-way hashes: a checkpoint
# tells nobody who was in the study). Here are the people of study A once more, with milder disease.
preprocess(
    "phantom_2d",
    study="twin",
    phantom_subjects=48,
    phantom_voxel=4.0,
    phantom_effect=0.5,
    **IMAGES,
    **PLACES,
)
try:
    evaluate("phantom_2d", study="twin", run="twice", **SCORED)
except LeakageError as error:
    print("refused:", error)

# %%
# With several studies, `crossdata` tries every one on every other and draws the matrix.
#
# What can go wrong: one other study is one other study. A model that travels to B has not been
# shown to travel to C.
plt.show()
