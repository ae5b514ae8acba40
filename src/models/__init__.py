"""Networks, and what a checkpoint carries beside their weights. Models never see data.

`create` makes a model; `registry` says what a backbone declares; `backbones_2d` and `backbones_3d`
register them; `checkpoint` is the only caller of ``torch.load``; `calibration` and `conformal` need
no torch.
"""
