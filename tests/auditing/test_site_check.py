"""The audit's check of sites: planted ones warn, others pass."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from src.auditing.before_training import refuse_leaks
from src.auditing.site import _auc, check_site
from src.auditing.table_checks import cheap_audit, manifest_rows
from src.auditing.verdicts import NOT_KNOWN, PASS, WARN
from src.manifest import Manifest

NON, VERY, MILD = "NonDemented", "VeryMildDemented", "MildDemented"
SITES = {"North": 61, "South": 29, "East": 17}  # people; unequal


def people(ill_at: dict[str, float], seed: int = 0, split=None, sites=None) -> pd.DataFrame:
    """Return rows of two scans per person; `ill_at` is the share of the ill at each site."""
    rng = np.random.default_rng(seed)
    rows = []
    for site, count in (sites or SITES).items():
        for number in range(count):
            name = f"{site}{number}"
            label = rng.choice([VERY, MILD]) if rng.random() < ill_at[site] else NON
            side = rng.choice(["train", "test"], p=[0.7, 0.3]) if split is None else split(site)
            for visit in ("a", "b"):
                rows.append((name, visit, f"{name}_{visit}.png", label, side, site))
    columns = ["subject", "session", "path", "label", "split", "site"]
    return pd.DataFrame(rows, columns=columns).assign(fingerprint=None)


def rows_of(table: pd.DataFrame, **more) -> pd.DataFrame:
    return manifest_rows(Manifest(table.assign(cohort="x", **more), root="."))


def test_a_site_that_has_the_ill_is_warned_of_with_numbers() -> None:
    check = check_site(rows_of(people({"North": 0.2, "South": 0.9, "East": 0.5})))
    assert check.verdict == WARN
    assert check.sentence.startswith("site alone tells NonDemented from the others: AUC 0.")
    assert "over 107 people" in check.sentence
    assert "--hold_out site" in check.sentence
    found = check.numbers["attributes"]["site"]
    assert 0.7 < found["auc"] < 0.9
    assert 0.6 < found["low"] < found["auc"] < found["high"] < 0.95
    assert check.examples[0].startswith("not NonDemented, by site: North ")
    assert " of 61, South " in check.examples[0]


@pytest.mark.parametrize("seed", range(12))
def test_sites_without_an_effect_pass(seed: int) -> None:
    check = check_site(rows_of(people(dict.fromkeys(SITES, 0.4), seed)))
    assert check.verdict == PASS, check.sentence
    assert check.numbers["attributes"]["site"]["auc"] == pytest.approx(0.5, abs=0.15)


def test_guessing_is_even_on_average() -> None:
    aucs = [
        check_site(rows_of(people(dict.fromkeys(SITES, 0.4), seed)))
        .numbers["attributes"]["site"]["auc"]
        for seed in range(60)
    ]  # fmt: skip
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.03)


def test_many_sites_of_few_people_do_not_tell_by_having_learnt_them() -> None:
    sites = {f"s{number}": 2 for number in range(60)}
    check = check_site(rows_of(people(dict.fromkeys(sites, 0.5), sites=sites)))
    assert check.verdict == PASS
    assert check.numbers["attributes"]["site"]["levels"] == 60


def test_the_area_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    score = np.array([0.1, 0.4, 0.4, 0.9])
    counts = rng.integers(1, 9, (4, 2))  # level, side
    truth = np.concatenate([np.repeat([0, 1], row) for row in counts])
    said = np.repeat(score, counts.sum(axis=1))
    order = np.array([2, 0, 3, 1])  # levels are in no order
    ours = _auc(counts[order][None, None].astype(float), score[order][None])
    assert ours[0] == pytest.approx(roc_auc_score(truth, said))


def test_a_person_s_first_scan_counts() -> None:
    table = people({"North": 0.2, "South": 0.9, "East": 0.5})
    moved = table["session"] == "b"
    later = table.assign(site=table["site"].mask(moved, "Elsewhere"))
    found, same = (check_site(rows_of(one)).numbers["attributes"] for one in (later, table))
    assert found == same


def test_only_the_scanner_is_known() -> None:
    table = people({"North": 0.1, "South": 0.9, "East": 0.5}).rename(columns={"site": "scanner"})
    check = check_site(rows_of(table))
    assert check.verdict == WARN
    assert "scanner alone tells" in check.sentence
    assert list(check.numbers["attributes"]) == ["scanner"]


def test_a_field_is_told_in_tesla() -> None:
    table = people({"North": 0.1, "South": 0.9, "East": 0.5})
    field = table["site"].map({"North": 1.5, "South": 3.0, "East": 3.0})
    check = check_site(rows_of(table.drop(columns="site"), field_strength=field))
    assert "field strength alone tells" in check.sentence
    assert "1.5" in check.examples[0]


@pytest.mark.parametrize("site", [None, "North"])
def test_no_site_or_one_is_not_known(site) -> None:
    check = check_site(rows_of(people(dict.fromkeys(SITES, 0.5)).assign(site=site)))
    assert check.verdict == NOT_KNOWN
    assert ("one site only: North" if site else "no image has a site") in check.sentence


def test_few_people_are_not_known() -> None:
    sites = {"North": 6, "South": 5}
    check = check_site(rows_of(people({"North": 0.0, "South": 1.0}, sites=sites)))
    assert check.verdict == NOT_KNOWN
    assert "fewer than 10 people" in check.sentence


def test_sides_of_other_sites_are_warned_of() -> None:
    table = people(dict.fromkeys(SITES, 0.4))
    number = table["subject"].str.extract(r"(\d+)")[0].astype(int)
    south = table["site"] == "South"
    table["split"] = np.where(south & (number < 27) | (number % 9 == 0), "test", "train")
    check = check_site(rows_of(table))
    assert check.verdict == WARN
    assert check.sentence.startswith("the sites of test are not those of train (p ")


def test_a_test_at_a_site_of_its_own_is_said_and_no_fault() -> None:
    split = {"North": "train", "East": "train", "South": "test"}.get
    check = check_site(rows_of(people(dict.fromkeys(SITES, 0.4), split=split)))
    assert check.verdict == PASS
    assert "test: of other sites or scanners than train" in check.sentence


def test_images_of_unknown_people_are_no_draws() -> None:
    rows = rows_of(people(dict.fromkeys(SITES, 0.5))).assign(known=False)
    assert check_site(rows.assign(unit=rows["path"])).verdict == NOT_KNOWN


def test_training_is_told_of_it_and_goes_on(caplog) -> None:
    table = people({"North": 0.1, "South": 0.9, "East": 0.5})
    manifest = Manifest(table.assign(cohort="x"), root=".")
    assert cheap_audit(manifest)["checks"][-1]["name"] == "site"
    with caplog.at_level(logging.WARNING):
        refuse_leaks(manifest, allowed=False)
    assert "audit: site WARN: site alone tells" in caplog.text
