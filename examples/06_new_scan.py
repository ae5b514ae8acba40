"""
A new scan: what a model says, and when it should be silent
===========================================================

A trained model meets a scan that it has never seen. This script asks it, reads the answer line by
line, and shows what happens with a scan that is like nothing the model knows.

Research use only. An answer is what a research model says of an image. It is no diagnosis.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/06_new_scan.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path.cwd()))

from src import crossval, load_model, predict, preprocess

WORK = Path(tempfile.mkdtemp())
PLACES = {
    "data_root": WORK / "data",
    "results_dir": WORK / "results",
    "checkpoint_dir": WORK / "checkpoints",
    "device": "cpu",
    "workers": 1,
}

# %%
# 1. Models
# ---------
#
# 48 rated phantoms, two classes, two folds. Each fold leaves a model: it was fitted to half of the
# people, and answered for the other half.
cohort = {"phantom_voxel": 4.0, "num_slices": 4, "image_size": 96}
preprocess("phantom_2d", phantom_subjects=48, **cohort, **PLACES)
results = crossval(
    "phantom_2d",
    freeze_backbone=True,
    keep_models=True,
    classes=2,
    folds=2,
    repeats=1,
    bootstrap=100,
    run="folds",
    **PLACES,
)
FOLDS = WORK / "checkpoints" / "folds"
print(*sorted(path.name for path in FOLDS.rglob("*.pth")))
model = load_model(min(FOLDS.rglob("*.pth")))

# %%
# 2. A stranger
# -------------
#
# Another cohort, with another seed: nobody in it is known to the model. We take an ill person and a
# healthy one, and save their scans as NIfTI, with an affine that says where the head lies.
OTHERS = {**PLACES, "data_root": WORK / "others"}
others = preprocess("phantom_2d", phantom_subjects=8, seed=7, **cohort, **OTHERS)
scans = {}
for word, label in (("ill", "ModerateDemented"), ("healthy", "NonDemented")):
    person = others.table.loc[others.table["label"] == label, "subject"].iloc[0]
    found = min((WORK / "others" / "phantom").rglob(f"{person}_MR1_*masked_gfc.img"))
    truth = nib.load(WORK / "others" / "phantom" / "truth" / f"{person}_change.nii.gz")
    voxels = np.asarray(nib.load(found).dataobj).squeeze()
    scans[word] = WORK / f"{word}.nii.gz"
    nib.save(nib.Nifti1Image(voxels, truth.affine), scans[word])

# %%
# 3. One scan, three ways, one number
# -----------------------------------
#
# A path, a nibabel image, or an array with its affine: all go the same way and give the same
# number. An array alone is a scan for nobody: without an affine, where its voxels lie is not known.
# It is taken only in the shape of the model's own images, as an image that is processed already.
image = nib.load(scans["ill"])
given = {
    "path": (scans["ill"], None),
    "nibabel image": (image, None),
    "array": (np.asarray(image.dataobj), image.affine),
}
answers = {
    name: predict(model, one, affine=affine, device="cpu").iloc[0]
    for name, (one, affine) in given.items()
}
for name, answer in answers.items():
    print(f"{name}: p(Demented) = {answer['p_Demented']}")
assert len({answer["p_Demented"] for answer in answers.values()}) == 1

# %%
# 4. Read the answer
# ------------------
answer = answers["path"]
for column in ("stage", "p_Demented", "prediction_set", "outside", "p_distance", "flags"):
    print(f"{column}: {answer[column]}")

# %%
# - ``stage`` is the most probable class, ``p_Demented`` its calibrated probability: of all people
#   who are told 0.7, about 70 in 100 should be ill.
# - ``prediction_set`` is more careful than the stage. It holds the true class for 90 of 100 people
#   of each class, as long as they are like those of the training. Two names in it mean: this scan
#   does not decide it. That is an answer, and often the right one.
# - ``p_distance`` says how many people like those of the training are as unusual as this scan. 0.3
#   is ordinary. 0.01 is rare.
# - ``outside`` is True where the scan is too unusual. Then there is no stage.
#
# 5. A scan that is outside
# -------------------------
#
# Somebody sends a head that lies upside down, and somebody else a picture of noise.
rng = np.random.default_rng(0)
voxels = np.asarray(image.dataobj)
strange = {
    "upside down": nib.Nifti1Image(np.ascontiguousarray(voxels[:, :, ::-1]), image.affine),
    "noise": nib.Nifti1Image(
        (rng.integers(200, 1000, voxels.shape) * (voxels > 0)).astype(np.int16), image.affine
    ),
}
asked = [scans["ill"], scans["healthy"], *strange.values()]
names = ["ill", "healthy", *strange]
table = predict(model, asked, device="cpu").set_axis(names)
print(table[["stage", "p_Demented", "prediction_set", "outside"]].to_string())
for name in names:
    if table.loc[name, "outside"]:
        print(f"{name}: {table.loc[name, 'reasons']}")

# %%
# For a scan that is outside there is no stage and no probability. The network would have said
# something, and perhaps with great certainty: networks always do. ``p = 0.040`` is one in 25, the
# least that 24 people to compare with can show. One ordinary scan in 25 looks that unusual, too.
figure, panels = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
shown = [np.asarray(nib.load(scans[one]).dataobj) for one in ("ill", "healthy")]
shown += [np.asarray(one.dataobj) for one in strange.values()]
for panel, one, name in zip(panels, shown, names, strict=True):
    panel.imshow(np.rot90(one[one.shape[0] // 2]), cmap="gray")
    word = "outside" if table.loc[name, "outside"] else table.loc[name, "stage"]
    panel.set_title(f"{name}: {word}", fontsize=9)
    panel.set_axis_off()

# %%
# 6. Several models together
# --------------------------
#
# Given the folder of the folds, `predict` asks all of them. The probability is their mean, the
# prediction set their majority. ``largest_spread`` is how far they are apart: where models that saw
# other people disagree, the answer hangs on chance.
together = predict(FOLDS, list(scans.values()), device="cpu")
columns = ["stage", "p_Demented", "prediction_set", "n_checkpoints", "largest_spread"]
print(together[columns].to_string())

# %%
# What can go wrong: the model cannot know whether its answer about an ordinary scan is right. "Not
# outside" means that nothing unusual was noticed. It does not mean that the answer can be trusted.
plt.show()
