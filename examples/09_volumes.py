"""
Volumes: a network that sees the whole head
===========================================

A slice shows a plane. A network of volumes sees the whole brain at once, at a price: one person is
one image, so there is less to learn from, and each image is larger. The lines are those of 2D; only
the name of the data set is another.

Research use only. The people are phantoms.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/09_volumes.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

sys.path.insert(0, str(Path.cwd()))

from src import Evaluator, Trainer, create_data_loaders, create_model, explain, preprocess
from src.config import TrainConfig

WORK = Path(tempfile.mkdtemp())

# %%
# 1. Data
# -------
#
# 60 rated phantoms. ``volume_size`` is the edge of a processed volume, in voxels: brains are laid
# into a cube of 32, which is coarse and quick. For real people 96 or 128 are usual.
manifest = preprocess(
    "phantom_3d",
    phantom_subjects=60,
    phantom_voxel=4.0,
    volume_size=32,
    test_fraction=0.4,
    data_root=WORK / "data",
    workers=1,
)
train_loader, test_loader = create_data_loaders(
    manifest.root, model_dim="3d", num_classes=2, batch_size=4
)
volume, _ = train_loader.dataset[0][:2]
print("people:", manifest.table.groupby("split")["subject"].nunique().to_dict())
print("a volume:", tuple(volume.shape), "(channel, left-right, back-front, below-above)")

# %%
# 2. Train
# --------
#
# ``simple`` is a small network of volumes. There are no weights from photographs for it: it begins
# with random ones, so it needs epochs. ``seed`` says which random ones.
model = create_model("3d", "simple", num_classes=2, seed=0)
trainer = Trainer(
    model, train_loader, device="cpu", config=TrainConfig(epochs=10, precision="fp32", seed=0)
)
history = trainer.train(save_dir=WORK / "checkpoints")
print(history)

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.imshow(history.plot("simple, volumes of 32 voxels"))
axes.set_axis_off()

# %%
# 3. Score it
# -----------
results = Evaluator(model, test_loader, device="cpu", n_bootstrap=500).full_evaluation(
    WORK / "results"
)
print(results)
print(results.rivals()[["balanced accuracy", "macro AUC"]].round(2).to_string())

# %%
# Read the rivals, too. Phantoms are made so that dark fluid spaces grow with the disease, and
# ``dark voxels`` needs no network to count them. With 24 people the interval is wide: that this
# model is ahead of it here can be luck. An AUC of 1 with no interval is no proof either: everyone
# was ranked rightly, so resampling the same people cannot show what others would do.
#
# 4. Where did it look? A map with three axes
# -------------------------------------------
#
# `explain` takes the raw scan and brings it to the volumes that the model knows. Its map lies on
# the grid of these volumes; ``nifti`` is the same map on the grid of the scan, for your viewer.
test = manifest.table[manifest.table["split"] == "test"]
person = test.loc[test["label"] != "NonDemented", "subject"].iloc[0]
scan = min((WORK / "data" / "phantom").rglob(f"{person}_MR1_*masked_gfc.img"))
told = explain(model, scan, "Demented", device="cpu")
print(told.answer)
print("map:", told.map.shape, "in the scan:", told.nifti.shape)

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.imshow(told.figure)
axes.set_axis_off()

# %%
# Three planes through the brightest place. Letters say which side is which; where a scan's file
# does not tell left from right, the figure says so and guesses nothing. In phantoms the disease was
# planted, among others, in the fluid spaces in the middle, and that is where this map is strongest.
# It also has spots at the rim of the head and outside of it, where nothing was planted.
#
# The last map of the network is much coarser than the volume, and is stretched over it. A smooth
# edge of the colour is not a sharp finding. Whether such maps deserve to be believed is tested in
# ``05_maps.py``: `gradcam` takes ``phantom_3d`` as well.
#
# What can go wrong: a volume per person is few images. When 3D is no better than 2D on your people,
# that is a result, and 2D costs less.
plt.show()
