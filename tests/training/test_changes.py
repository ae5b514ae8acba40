"""Known changes: each moves its own measure, and only what is unusual speaks for it."""

from __future__ import annotations

import pytest
import torch
from test_look import SLICES, SOLID, brain, crowd

from src.training.changes import CHANGES, changes_of
from src.training.look import UNUSUAL, fit_look


def furrowed(images):
    """Return a brain whose grey matter has furrows of fluid, a pixel wide."""
    made = images.clone()
    grey = (made > 0.25) & (made < 0.6)
    grey[..., torch.arange(made.shape[-1]) % 6 != 0] = False
    made[grey] = 0.12
    return made


@pytest.mark.parametrize("shape", [SLICES, SOLID])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_moves_its_own_measure_to_the_side_it_says(monkeypatch, shape, name):
    monkeypatch.setattr("src.training.look._LEAST", (1e-6,) * 3)  # these people are much alike
    change, look = CHANGES[name], fit_look([furrowed(one) for one in crowd(shape)])
    images = furrowed(brain(60, shape))
    made = change.applied(images)
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert 0 <= made.min() <= made.max() <= 1
    assert not made[images == 0].any()
    before, after = look.unusual(images), look.unusual(made)
    assert change.off(before) < UNUSUAL < change.off(after)
    assert name in changes_of(after)
    assert torch.equal(made, change.applied(images))  # the same every time


def test_changes_are_told_from_three_standard_deviations_on():
    assert changes_of({"detail": 0.0, "grey": 0.0, "ventricles": 0.0}) == []
    assert changes_of({"detail": -3.1, "grey": 2.9, "ventricles": 2.9}) == ["blurred"]
    assert changes_of({"detail": 3.1}) == ["another scanner"]
    assert changes_of({"grey": 3.1}) == changes_of({"grey": -3.1}) == ["another scanner"]
    assert changes_of({"ventricles": 3.1}) == ["wider ventricles"]
    assert changes_of({"ventricles": -9.0}) == []  # narrow ones are no sign of anything
    assert changes_of({"detail": -4.0, "grey": 4.0}) == ["blurred", "another scanner"]
