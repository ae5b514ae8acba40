"""Figures of what stands beside a score: rivals, calibration, sets, subgroups, folds."""
