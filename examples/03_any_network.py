"""
Any network: bring your own
===========================

The project has networks of its own, but it trains and scores any other as well: whatever takes
images and gives one number (a *logit*) for each class. Here it is one of torchvision.

Research use only. The people are phantoms.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/03_any_network.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

sys.path.insert(0, str(Path.cwd()))

from src import (
    Evaluator,
    GradCAM,
    Trainer,
    create_data_loaders,
    get_target_layer,
    load_model,
    preprocess,
    wrap,
)
from src.config import TrainConfig

WORK = Path(tempfile.mkdtemp())
torch.manual_seed(0)

# %%
# The network comes from torchvision. Where torch was built for CPUs only, the torchvision of the
# package index does not import beside it: "operator torchvision::nms does not exist". ``from src
# import wrap``, above, mends that, so it has to come first. Elsewhere it changes nothing.
from torchvision.models import mobilenet_v3_small

# %%
# 1. Data
# -------
#
# 40 rated phantoms, four slices each. Two classes: healthy (CDR 0) and any stage of dementia.
manifest = preprocess(
    "phantom_2d",
    phantom_subjects=40,
    phantom_voxel=4.0,
    num_slices=4,
    image_size=64,
    test_fraction=0.4,
    data_root=WORK / "data",
    workers=1,
)
train_loader, test_loader = create_data_loaders(manifest.root, num_classes=2, batch_size=8)

# %%
# 2. A network as it is
# ---------------------
#
# This network wants colour pictures, and ours are grey. `Trainer` finds that out by one pass over
# noise, and shows the grey image three times. The number of outputs must be that of the classes: a
# network with 1,000 outputs is refused, with the line that mends it.
#
# One thing it cannot find out. This network keeps running means of what it sees (*batch norm*), and
# moves them by one part in a hundred with each batch. That is meant for a million batches. We have
# about a hundred: left as it is, the network is scored with means of nothing, and gives everyone
# the same answer.
network = mobilenet_v3_small(num_classes=2)
for part in network.modules():
    if isinstance(part, torch.nn.BatchNorm2d):
        part.momentum = 0.1
trainer = Trainer(
    network, train_loader, device="cpu", config=TrainConfig(epochs=8, precision="fp32", lr=0.001)
)
history = trainer.train(save_dir=WORK / "mobilenet")
print(history.table().round(3).to_string(index=False))

# %%
# A row is an *epoch*: every training image was seen once. ``train_loss`` says how wrong the answers
# on training people are, smaller is better. ``val_balanced_accuracy`` is the share of right answers
# among validation people, class by class: 0.5 is guessing. The epoch with the best one is kept.
print("kept: epoch", history["best_epoch"])
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.imshow(history.plot("mobilenet_v3_small, from random weights"))
axes.set_axis_off()

# %%
# Look at the lines. For epochs a network that starts from random weights tells everyone the same,
# which scores 0.5. Then it may find something, or not. There are seven validation people: one of
# them more or less moves the curve by 12 points or more, so do not read its ups and downs. A
# training loss that falls while validation gets worse is *learning by heart*.
#
# 3. Score it
# -----------
#
# The test people are opened here for the first time. Do it once, at the end.
results = Evaluator(network, test_loader, device="cpu", n_bootstrap=500).full_evaluation(
    WORK / "results"
)
print(results.table().loc[["balanced accuracy", "macro AUC"]].round(2).to_string())

# %%
# ``low`` and ``high`` are the ends of the 95 % interval: with other test people of the same kind
# the score could as well have been anywhere in between. If 0.5 is inside, you cannot say that the
# network is better than a coin.
#
# 4. Where did it look?
# ---------------------
#
# ``trainer.model`` is the network with its normalisation in front, so it takes the grey image. (The
# bare network would want three channels, normalised by you.) `get_target_layer` gives the last
# layer that is still a map.
classifier = trainer.model
image = test_loader.dataset[2][0].float() / 255  # the third slice of the first test person
with GradCAM(classifier, get_target_layer(classifier), device="cpu") as gradcam:
    cam = gradcam.generate_cam(image)
figure, panels = plt.subplots(1, 2, figsize=(6, 3.2), layout="constrained")
for panel, title in zip(panels, ("a test image", "Grad-CAM of the answer"), strict=True):
    panel.imshow(image[0], cmap="gray")
    panel.set_title(title, fontsize=10)
    panel.set_axis_off()
panels[1].imshow(cam, cmap="inferno", alpha=0.5, vmin=0, vmax=1)

# %%
# The map shows where a change of the image changes the answer. It is coarse: the last map of this
# network has 2 x 2 places. Of a network that guesses it says nothing about brains, however good it
# looks. See ``05_maps.py``.
#
# 5. Keep it, open it again
# -------------------------
#
# ``save_dir`` wrote ``best_model.pth``: weights, classes, calibration, how the images were made,
# and one-way hashes of the people. It holds no code. You say which network the weights belong to.
again = load_model(WORK / "mobilenet", network=mobilenet_v3_small)
with torch.no_grad():
    before, after = (model(image[None]).numpy() for model in (classifier, again))
print("logits before and after:", before.round(3), after.round(3))
assert np.allclose(before, after, atol=1e-4)

# %%
# 6. In control: `wrap`
# ---------------------
#
# What was found out by itself can be said: how grey values are normalised, to which size images
# are brought, which layer the maps explain. A finer layer gives a finer map. Given the function and
# not the network, the checkpoint can name what makes it, and `load_model` needs no second argument.
finer = wrap(
    mobilenet_v3_small,
    num_classes=2,
    mean=0.25,
    std=0.25,
    size=96,
    target_layer="features.3",
)
print("maps explain", finer.cam_layer, "of", finer.backbone)
maps = GradCAM(finer, get_target_layer(finer)).raw_cams(image[None])
print("places of its map:", tuple(np.asarray(maps).shape[1:]))

# %%
# What can go wrong: a network that was trained on photographs expects their normalisation, which
# is the default for three channels. Change ``mean`` and ``std`` only if you know what it was
# trained with.
plt.show()
