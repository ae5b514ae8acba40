"""ComBat against neuroCombat, and on sites that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from src.models.combat import FEW, fit_combat

SIZES = {"North": 31, "South": 18, "East": 9}


def people(sizes=None, columns=23, seed=0):
    """Return (P, F) and sites; each site shifts and scales every column in its own way."""
    rng = np.random.default_rng(seed)
    parts, site = [], []
    for number, (name, count) in enumerate((sizes or SIZES).items()):
        shift, scale = rng.normal(2 * number, 0.7, columns), rng.uniform(0.5, 2, columns)
        parts.append(100 + 10 * (shift + scale * rng.normal(size=(count, columns))))
        site += [name] * count
    return np.concatenate(parts), site


def test_fitted_people_are_those_of_neurocombat():
    oracle = pytest.importorskip("neuroCombat")
    values, site = people()
    judged = oracle.neuroCombat(
        dat=values.T, covars=pd.DataFrame({"site": site}), batch_col="site"
    )["data"].T
    ours = fit_combat(values, site).apply(values, site)
    np.testing.assert_allclose(ours, judged, rtol=1e-4)
    assert np.abs(values - judged).max() > 10


def test_a_new_site_is_brought_to_the_others_by_its_own_people():
    values, site = people()
    new = np.asarray(site) == "South"
    kept = ~new
    model = fit_combat(values[kept], [s for s, k in zip(site, kept, strict=True) if k])
    with pytest.raises(KeyError, match="South"):
        model.apply(values[new], ["South"] * int(new.sum()))
    wider = model.with_new_sites(values[new], ["South"] * int(new.sum()))
    made = wider.apply(values[new], ["South"] * int(new.sum()))
    apart = np.abs(made.mean(axis=0) - values[kept].mean(axis=0)) / values[kept].std(axis=0)
    assert apart.max() < 0.25
    before = np.abs(values[new].mean(axis=0) - values[kept].mean(axis=0)) / values[kept].std(axis=0)
    assert before.mean() > 3 * apart.mean()
    np.testing.assert_array_equal(wider.mean, model.mean)
    assert all(wider.sites[name] is model.sites[name] for name in model.sites)


def test_fitted_sites_do_not_move_with_the_people_who_are_answered():
    values, site = people()
    train = np.arange(len(site)) % 3 > 0
    names = np.asarray(site)
    model = fit_combat(values[train], names[train].tolist())
    again = model.with_new_sites(values[~train] + 50, names[~train].tolist())
    np.testing.assert_array_equal(again.apply(values, names), model.apply(values, names))


def test_images_change_as_their_people_do():
    values, site = people()
    model = fit_combat(values, site)
    images = np.repeat(values, 3, axis=0) + np.tile([[-1.0], [0.0], [1.0]], (len(site), 1))
    made = model.apply(images, np.repeat(site, 3))
    means = made.reshape(len(site), 3, -1).mean(axis=1)
    np.testing.assert_allclose(means, model.apply(values, site))


def test_a_site_of_few_people_stays_and_is_named():
    values, site = people({"North": 20, "South": FEW, "East": FEW - 1})
    model = fit_combat(values, site)
    assert model.unchanged == ("East",)
    made = model.apply(values, site)
    np.testing.assert_array_equal(made[-FEW + 1 :], values[-FEW + 1 :])
    assert np.abs(made[20:25] - values[20:25]).max() > 1


def test_two_columns_with_missing_values():
    values, site = people(columns=2)
    values[3, 0] = np.nan
    made = fit_combat(values, site).apply(values, site)
    assert np.isnan(made[3, 0])
    names = np.asarray(site)
    means = [np.nanmean(made[names == name], axis=0) for name in SIZES]
    np.testing.assert_allclose(means[0], means[1])
    np.testing.assert_allclose(means[0], means[2])


def test_a_column_that_does_not_vary_stays():
    values, site = people()
    values[:, 4] = 7.0
    made = fit_combat(values, site).apply(values, site)
    np.testing.assert_array_equal(made[:, 4], values[:, 4])
    assert np.isfinite(made).all()
