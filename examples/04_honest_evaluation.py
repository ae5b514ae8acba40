"""
Honest evaluation: how a good score lies
========================================

Most good scores on brain images that cannot be repeated have one cause: the same people were
trained on and tested on. This script makes that mistake on purpose, shows how large it is, and then
does it right.

Research use only. The people are phantoms.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/04_honest_evaluation.py``.
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.svm import SVC

sys.path.insert(0, str(Path.cwd()))

from src import arrays, audit, create_data_loaders, crossval, preprocess
from src.errors import LeakageError

WORK = Path(tempfile.mkdtemp())
SMALL = {"phantom_voxel": 4.0, "image_size": 64, "workers": 1}

# %%
# 1. People without any disease
# -----------------------------
#
# ``phantom_effect=0`` plants nothing: who is called ill was drawn by lot. No honest model can be
# better than guessing, which is a balanced accuracy of 0.5. We know the right answer in advance.
noise = preprocess(
    "phantom_2d",
    phantom_subjects=16,
    phantom_effect=0.0,
    phantom_variety=1.0,
    num_slices=36,
    data_root=WORK / "noise",
    **SMALL,
)
images, stages, people = arrays(noise)
ill = np.where(stages == "NonDemented", "healthy", "ill")
print(len(images), "slices of", len(set(people)), "people")

# %%
# 2. The same model, leaked and honest
# ------------------------------------
#
# The model is a support vector machine on grey levels: simple, and as able to learn by heart as a
# large network. Both times the slices are divided into four parts, and each part is answered by a
# model that was fitted to the others. ``KFold`` deals out slices, so a person is on both sides.
# ``GroupKFold`` with the people as groups keeps each person on one side.
pixels = images.reshape(len(images), -1) / 255
model = SVC(C=100, class_weight="balanced")
said = {
    "leaked: by slice": cross_val_predict(
        model, pixels, ill, cv=KFold(4, shuffle=True, random_state=0)
    ),
    "honest: by person": cross_val_predict(model, pixels, ill, cv=GroupKFold(4), groups=people),
}
scores = {name: balanced_accuracy_score(ill, answers) for name, answers in said.items()}
for name, score in scores.items():
    print(f"{name}: balanced accuracy {score:.2f}")

figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
axes.barh(list(scores), list(scores.values()), color=["tab:red", "tab:blue"])
axes.axvline(0.5, color="black", linestyle=":")
axes.set_xlim(0, 1)
axes.set_xlabel("balanced accuracy; dotted: guessing, the truth here")
axes.set_title("One model, one set of labels that mean nothing")

# %%
# The leaked score is an illusion. The model learnt what each head looks like, and looked the label
# up: the slice above and the slice below were among those that it had seen. Many published scores
# on slices of brains were made in this way. The honest score is near 0.5, and not at it, because
# 16 people are few.
#
# 3. Ask before you believe: `audit`
# ----------------------------------
#
# A data set from the web often has folders ``train`` and ``test``. We make such a download: slices
# dealt out like cards.
download = WORK / "download"
for number, row in enumerate(noise.table.itertuples()):
    side = "test" if number % 4 == 0 else "train"
    (download / side / row.label).mkdir(parents=True, exist_ok=True)
    shutil.copy(noise.root / row.path, download / side / row.label / Path(row.path).name)
report = audit(download, results_dir=WORK / "results")
print(report.verdict)
for name, check in report.table().iterrows():
    if check["verdict"] == "FAIL":
        print(f"- {name}: {check['sentence']}")
print("to mend it:", report.fix)

# %%
# ``FAIL`` means: a score on this split says nothing about new people. The sentences say what was
# found. ``probe`` is the leak itself: with labels that were shuffled among people, looking up the
# nearest training image is right more often than chance. Do not take a ``PASS`` for a proof: where
# files name nobody, an audit can only compare pictures.
#
# The loaders refuse such a split, too:
try:
    create_data_loaders(download, num_classes=2)
except LeakageError as error:
    print("refused:", error)

# %%
# 4. Do it right: folds by person, rivals, intervals
# --------------------------------------------------
#
# Now people with some disease: ``phantom_effect=0.6`` plants a mild one, and ``phantom_variety``
# lets healthy heads differ. `crossval` divides people into folds, and each is answered by a model
# that never saw them. (Two folds are fast. Five, repeated five times, are the default.)
cohort = preprocess(
    "phantom_2d",
    phantom_subjects=40,
    phantom_effect=0.6,
    phantom_variety=0.5,
    num_slices=4,
    data_root=WORK / "data",
    **SMALL,
)
results = crossval(
    cohort.root.name,
    freeze_backbone=True,
    classes=2,
    folds=2,
    repeats=1,
    bootstrap=500,
    data_root=WORK / "data",
    results_dir=WORK / "results",
    checkpoint_dir=WORK / "checkpoints",
    device="cpu",
    workers=1,
)
print(results.table().loc[["balanced accuracy", "macro AUC", "accuracy"]].round(2).to_string())

# %%
# Each row is a score, each with its 95 % interval from ``low`` to ``high`` and the number of
# people. Read the interval first. With 40 people it is some 30 points wide: two models that differ
# by less cannot be told apart here. Never pick the better of two numbers inside one interval.
#
# ``macro AUC`` is the chance that an ill person gets a higher score than a healthy one.
# ``accuracy`` counts right answers. It flatters a model where one class is frequent, so look at the
# balanced one.
rivals = results.rivals()[["balanced accuracy", "macro AUC"]]
print(rivals.round(2).to_string())

# %%
# *Rivals* answer the same people without a network: from age and sex, from a clinical table, or by
# counting dark voxels (the fluid that fills what shrank). A network that does not beat them has not
# shown that it sees anything more. MMSE is a test of memory; it is nearly the label itself, and
# stands there as an upper reference, not as a rival.
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.imshow(results.figure("rivals"))
axes.set_axis_off()

# %%
# What can go wrong with an honest split: you look at the test people, change something, and look
# again. Each look is a choice made on them. After twenty looks the score is no longer honest.
plt.show()
