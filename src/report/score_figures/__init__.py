"""Figures of a score and of what stands beside it: rivals, calibration, sets, subgroups, folds."""

from __future__ import annotations
