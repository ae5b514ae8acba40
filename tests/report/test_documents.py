"""Documents: true to the numbers, whole as Markdown, whatever the names in the files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from result_examples import (
    CLASSES,
    crossval_result,
    ensemble_section,
    evaluate_result,
    span,
    unavailable,
)

from src.manifest import PEOPLE_UNKNOWN, SAME_PEOPLE
from src.report.documents.checklists import claim_markdown, tripod_markdown
from src.report.documents.markdown import escape, estimate, number, p_value, table
from src.report.documents.model_card import model_card
from src.report.documents.write import metrics_markdown, write_documents
from src.report.metrics_schema import check_metrics

RESULTS = {"evaluate": evaluate_result, "crossval": crossval_result}
DOCUMENTS = {
    "metrics": metrics_markdown,
    "card": model_card,
    "claim": claim_markdown,
    "tripod": tripod_markdown,
}
NASTY = (
    "a|b\\|c`d`<script>alert(1)</script>\n# head *x* _y_ [l](https://e.org) www.e.org @x ~~q~~ "
    "$1$ &amp; \u202e\x00\x1b" + "z" * 10_000
)


def _tables(text: str) -> list[list[list[str]]]:
    """Return the cells of every table, as a reader of Markdown finds them."""
    tables: list[list[list[str]]] = []
    within = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in ("table_open", "table_close"):
            within = token.type == "table_open"
            tables += [[]] * within
        elif token.type == "tr_open":
            tables[-1] = [*tables[-1], []]
        elif token.type == "inline" and within:
            tables[-1][-1].append(token.content)
    return tables


def _rows(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, head first."""
    part = text.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return _tables(part)[0]


def _nasty(result: dict[str, Any]) -> dict[str, Any]:
    """Put a hostile name wherever a file's words get in."""
    classes = [f"{NASTY[:200]}{k}" for k in range(3)]
    text = result | {"run": NASTY, "dataset": f"kaggle{NASTY}", "stamps": [NASTY, "second"]}
    text |= {"classes": classes, "audit": {"verdict": NASTY, "checks": []}}
    text |= {"versions": {NASTY: NASTY}, "checkpoint": NASTY}
    person = text["person"]
    person["per_class"] = dict(zip(classes, person["per_class"].values(), strict=True))
    person["majority"]["class"] = classes[0]
    person["notes"] = [NASTY]
    text["people"] = {
        split: dict(zip(classes, of.values(), strict=True)) for split, of in text["people"].items()
    }
    text["image"] = None
    text["settings"] = {"model": {"backbone": NASTY}, "train": {NASTY: NASTY, "lr": {"a": NASTY}}}
    for rival in text["rivals"] or []:
        rival |= {"title": NASTY, "columns": [NASTY]}
        if "reason" in rival:
            rival["reason"] = NASTY
    for name in ("increment", "calibration", "abstention", "decision_curve"):
        if "sentence" in text[name]:
            text[name]["sentence"] = NASTY
    text["retest"] = unavailable(NASTY)
    return text


@pytest.mark.parametrize("value", [0.5, 0.4126, -0.25, 0.0, 1.0, 0.9996, -0.0004, 12.3456])
def test_numbers_are_written_as_in_a_paper(value: float) -> None:
    expected = {0.5: ".500", 0.4126: ".413", -0.25: "-.250", 0.0: ".000", 1.0: "1.000"}
    expected |= {0.9996: "1.000", -0.0004: ".000", 12.3456: "12.346"}
    assert number(value) == expected[value]


def test_intervals_are_written_as_in_a_paper() -> None:
    assert estimate({"value": 0.512, "low": 0.412, "high": 0.598}) == ".512 (.412 to .598)"
    assert estimate({"value": 0.5, "low": None, "high": None}) == ".500 (no interval)"
    assert estimate({"value": None, "low": None, "high": None}) == "not estimable"
    assert estimate(None) == "not estimable"
    assert estimate(0.25) == ".250"


def test_no_p_is_zero() -> None:
    assert p_value(0.0004) == "p < .001"
    assert p_value(0.0123) == "p = .012"
    assert p_value(None) == "p not estimable"


@pytest.mark.parametrize("name", ["kaggle_2d_official", "OAS1_0061", "MR1", "CDR 0.5 (very mild)"])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert escape(name) == name


def test_a_hostile_name_becomes_plain_words() -> None:
    safe = escape(NASTY, 200)
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"x {safe} y")
    words = "a|b\\|c`d`&lt;script&gt;alert(1)&lt;/script&gt; # head *x* _y_ [l](https://e.org)"
    assert words in html
    assert not re.search(r"<(?!/?p>)", html)
    assert not set("|<>`\n\u202e\x00\x1b") & set(safe)
    assert len(escape("z" * 10_000)) == 100


def test_a_broken_table_is_not_written() -> None:
    with pytest.raises(ValueError, match="no row of 2 cells"):
        table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="no row of 2 cells"):
        table(["a", "b"], [["1", "2|3"]])


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("names", ["plain", "nasty"])
def test_every_row_has_the_cells_of_its_head(document: str, kind: str, names: str) -> None:
    result = RESULTS[kind]()
    plain = DOCUMENTS[document](result)
    text = plain if names == "plain" else DOCUMENTS[document](_nasty(result))
    found = _tables(text)
    assert [len(rows) for rows in found] == [len(rows) for rows in _tables(plain)]
    assert {len({len(row) for row in rows}) for rows in found} <= {1}
    html = MarkdownIt("commonmark").enable("table").render(text)
    tags = set(re.findall(r"<(\w+)", html))
    known = "h1 h2 p table thead tbody tr th td strong em ul li"
    assert tags <= set(known.split())
    assert "zzzz" * 400 not in text
    assert len(text) < 60_000


@pytest.mark.parametrize("kind", RESULTS)
def test_nothing_of_python_shows(kind: str) -> None:
    for document in DOCUMENTS.values():
        text = document(RESULTS[kind]())
        assert not re.search(r"\bNone\b|\bnan\b|\{|\}|Ellipsis", text)


def test_stamps_come_first_and_in_bold() -> None:
    result = evaluate_result() | {"stamps": [SAME_PEOPLE, "second stamp"]}
    for document in DOCUMENTS.values():
        lines = [line for line in document(result).splitlines() if line]
        assert lines[1:3] == [f"**STAMPED: {SAME_PEOPLE}**", "**STAMPED: second stamp**"]


def test_the_title_line_names_run_data_kind_people_and_audit() -> None:
    text = metrics_markdown(evaluate_result())
    assert (
        "Run oasis_2d_resnet18, data set oasis_2d, one split, test people: 41 people. "
        "Leakage audit: **PASS**." in text
    )
    assert "out-of-fold people: 45 people. Leakage audit: not run." in metrics_markdown(
        crossval_result()
    )


def test_table_1_holds_the_model_the_majority_and_every_rival() -> None:
    result = evaluate_result()
    result["person"]["metrics"]["brier"] = {"value": 0.123, "low": 0.045, "high": 1.2}
    head, model, majority, *rivals = _rows(metrics_markdown(result), "Table 1")
    assert head[:9] == [
        *("model", "people", "balanced accuracy", "macro AUC", "quadratic kappa", "accuracy"),
        *("MAE in stages", "Brier score", "log-loss"),
    ]
    assert model[:2] == ["**resnet18**", "41"]
    assert model[head.index("Brier score")] == ".123 (.045 to 1.200)"
    assert majority[0] == "always NonDemented"
    assert majority[head.index("accuracy")] == ".488 (.343 to .635)"
    assert majority[head.index("macro AUC")] == "-"
    assert [row[0] for row in rivals] == [
        "age, sex",
        "age, sex, nWBV, eTIV",
        "age, sex, MMSE (upper reference)",
    ]
    own = result["rivals"][1]["metrics"]["log_loss"]
    assert rivals[1][head.index("log-loss")] == estimate(own)


def test_rivals_that_are_missing_are_listed_with_the_reason() -> None:
    text = metrics_markdown(evaluate_result())
    assert "- Not available: dark voxels. Reason: the processed images were not read." in text
    assert "so that row is no rival of an image" in text
    text = metrics_markdown(crossval_result())
    assert text.count("the data set names neither age nor sex.") == 4  # rivals once, 3 sections
    assert "no rival of an image" not in text


def test_a_reason_that_is_a_whole_sentence_ends_with_one_full_stop() -> None:
    result = evaluate_result() | {"retest": unavailable("Nobody came twice.")}
    result["rivals"][3]["reason"] = "There are no images."
    text = metrics_markdown(result)
    assert "Nobody came twice.\n" in text
    assert "There are no images.\n" in text


def test_table_2_never_estimates_few_people() -> None:
    result = evaluate_result()
    result["person"]["per_class"]["MildDemented"] |= {"auc": span(0.9)}
    head, *rows = _rows(metrics_markdown(result), "Table 2")
    assert head[1:4] == ["people, train", "people, val", "people, test"]
    assert [row[0] for row in rows] == list(CLASSES)
    assert rows[0][1:4] == ["60", "11", "20"]
    found = result["person"]["confusion"]
    recall = result["person"]["per_class"]["NonDemented"]["recall"]
    assert rows[0][4] == f"{found[0][0]} of 20: {estimate(recall)}"
    assert rows[2][4:] == [f"{found[2][2]} of 7: not estimable", "not estimable"]


def test_answers_of_repeats_are_counted_as_answers_about_people() -> None:
    text = metrics_markdown(crossval_result())
    assert "## Table 3. Confusion of 180 answers about 45 people" in text
    assert "4 answers for each, one per repeat and seed" in text
    assert "Wilson" not in text
    assert "## Table 3. Confusion of 41 people" in metrics_markdown(evaluate_result())


def test_the_confusion_has_the_truth_in_rows() -> None:
    result = evaluate_result()
    result["person"]["confusion"] = [[18, 2, 0], [5, 9, 0], [1, 3, 3]]
    _, *rows = _rows(metrics_markdown(result), "Table 3")
    assert rows[1] == ["**VeryMildDemented**", "5", "9", "0"]


def test_calibration_stands_before_and_after() -> None:
    result = evaluate_result()
    result["calibration"]["before"]["slope"] = span(0.6, 0.1)
    result["calibration"]["after"]["slope"] = span(0.95, 0.1)
    rows = {row[0]: row for row in _rows(metrics_markdown(result), "Calibration")}
    assert rows["slope"][1:] == [".600 (.500 to .700)", ".950 (.850 to 1.050)"]


def test_small_groups_stand_in_italics_and_parentheses() -> None:
    _, *rows = _rows(metrics_markdown(evaluate_result()), "Subgroups")
    marked = [row for row in rows if all(re.fullmatch(r"\*\(.*\)\*", cell) for cell in row)]
    assert [row[1] for row in marked] == ["*(6)*"]
    assert rows[0][0] == "sex F"
    men = next(row for row in rows if row[0] == "sex M")  # 9 of them demented: no average over it
    assert men[3].startswith("*(")
    assert not men[5].startswith("*(")


def test_few_people_of_a_class_doubt_the_average_over_classes_alone() -> None:
    result = evaluate_result()
    result["abstention"]["curve"][0]["few_people"] = True
    result["abstention"]["curve"][-1]["n_people"] = 9
    _, first, *_, last = _rows(metrics_markdown(result), "Answering only when sure")
    assert first[2:] == [".600 (.520 to .680)", "*(.550 (.470 to .630))*"]
    assert all(cell.startswith("*(") for cell in last)


def test_a_class_with_few_scored_people_has_no_coverage() -> None:
    result = evaluate_result()
    result["prediction_sets"]["levels"]["0.90"]["per_class"][CLASSES[1]]["n_people"] = 4
    rows = {row[0]: row for row in _rows(metrics_markdown(result), "Prediction sets")}
    assert rows[".90"][-2:] == ["4 people: not estimable", "not estimable"]
    assert rows[".80"][5] == ".800 (.750 to .850), 20 people"


def test_what_the_network_adds_to_the_rivals_is_told_where_it_was_asked() -> None:
    result = evaluate_result()
    assert "add to the rivals" not in metrics_markdown(result)
    result |= {"ensemble": ensemble_section()}
    check_metrics(result)
    text = metrics_markdown(result)
    assert "## Does the network add to the rivals?" in text
    rows = {row[0]: row for row in _rows(text, "Does the network add to the rivals?")}
    assert rows["dark voxels and tissue_maps, and the network"][1] == ".728 (.648 to .808)"
    assert rows["difference"][2] == ".016 (-.064 to .096), p = .310"
    assert "adds nothing that is shown" in text
    result["ensemble"] = unavailable("no rival of the image could be fitted")
    check_metrics(result)
    assert "Not available: no rival of the image" in metrics_markdown(result)


def test_the_increment_stands_with_its_people() -> None:
    result = evaluate_result()
    text = metrics_markdown(result)
    assert "(41 people): AUC .724 (.644 to .804) and .781 (.701 to .861), difference .057" in text
    assert "likelihood ratio 5.100 (1 df, p = .024)" in text
    undefined = {"chi2": None, "df": 1, "p": None, "reason": "no error was made"}
    result["increment"]["likelihood_ratio"] = undefined
    assert "likelihood ratio not estimable (no error was made)" in metrics_markdown(result)


def test_age_matched_pairs_and_retest_and_chance_are_there() -> None:
    text = metrics_markdown(evaluate_result())
    rows = {row[0]: row for row in _rows(text, "Age as a shortcut")}
    assert rows["age-matched"][1] == "13 pairs, 3 years apart at most"
    assert rows["60 and over"][1] == "35 people"
    assert "two scans of 12 people: ICC .910 (.860 to .960)" in text
    assert "limits of agreement -.900 to .820" in text
    assert (
        "199 permutations (labels of people) in 41 people: balanced accuracy .550, p = .005" in text
    )
    assert "accuracy .100 (.050 to .150) where chance alone gives .090" in text


def test_folds_repeats_seeds_and_the_corrected_interval_are_there() -> None:
    result = crossval_result()
    result["crossval"]["spread"]["accuracy"]["sd_seeds"] = 0.033
    text = metrics_markdown(result)
    assert "5 folds x 2 repeats x 2 seeds over 45 people, folds 0123456789abcdef." in text
    rows = {row[0]: row for row in _rows(text, "Cross-validation")}
    assert rows["accuracy"][2:] == [".400 to .480", ".021", ".033", ".520 (.400 to .640)"]
    assert rows["macro AUC"][4] == "-"
    result["crossval"]["seeds"] = [0, 1, 2]
    assert "x 3 seeds over" in metrics_markdown(result)
    assert "## Cross-validation" not in metrics_markdown(evaluate_result())


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_without_any_section_still_makes_documents(kind: str) -> None:
    result = RESULTS[kind]()
    names = "increment calibration prediction_sets abstention decision_curve subgroups confounding"
    for name in (*names.split(), "retest", "permutation", "audit", "image", "rivals"):
        result[name] = None
    result |= {"settings": {}, "versions": {}}
    check_metrics(result)
    for document in DOCUMENTS.values():
        assert document(result)
    assert metrics_markdown(result).count("Not available: not computed in this run.") == 9


SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")


@pytest.mark.parametrize("kind", RESULTS)
def test_every_sentence_with_a_score_says_of_how_many_people(kind: str) -> None:
    for document in (metrics_markdown, model_card):
        for line in document(RESULTS[kind]()).splitlines():
            if line.startswith("|") or not re.search(r"\s-?\.\d{3}", line):
                continue
            for sentence in SENTENCE.split(line):
                if re.search(r"\s-?\.\d{3} \(", sentence):
                    assert re.search(r"\d+ people|\d+ person", sentence), sentence


def test_the_model_card_has_the_sections_of_the_paper() -> None:
    text = model_card(evaluate_result())
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data"),
        *("Training data", "Quantitative analyses", "Ethical considerations"),
        "Caveats and recommendations",
    ]
    assert "doi:10.1145/3287560.3287596" in text
    assert "**Research only. Not a medical device, and no basis for a diagnosis.**" in text


def test_the_model_card_tells_what_the_checkpoint_says() -> None:
    info = {"backbone": "resnet18", "epoch": 7, "subjects": ["ab"] * 141, "model": {"w": object()}}
    text = model_card(evaluate_result(), info)
    assert "The checkpoint says: backbone resnet18, epoch 7, seen in training: 141 people" in text
    assert "object" not in text
    assert "The checkpoint says" not in model_card(evaluate_result())


def _caveats(result: dict[str, Any]) -> str:
    return model_card(result).split("## Caveats and recommendations")[1]


def test_caveats_follow_from_the_result() -> None:
    text = _caveats(evaluate_result())
    assert "Under 10 people, so nothing is estimated of: MildDemented (7 people)." in text
    assert "One split, 41 people in test" in text
    assert "under 60 is at CDR 0" in text
    assert "Kaggle" not in text
    assert "Stamped" not in text
    assert "audit" not in text
    old = evaluate_result()
    old["settings"]["data"]["min_age"] = 60
    assert "under 60" not in _caveats(old)
    folds = _caveats(crossval_result())
    assert "One split" not in folds
    assert "almost certainly OASIS-1 people" in folds
    assert "fairness was not examined" in folds
    assert "nothing about patients" in _caveats(evaluate_result() | {"dataset": "phantom_3d"})


def test_caveats_name_stamps_a_failed_audit_and_a_better_rival() -> None:
    result = evaluate_result() | {"stamps": [PEOPLE_UNKNOWN]}
    result |= {"audit": {"verdict": "FAIL", "checks": []}}
    result["person"]["metrics"]["balanced_accuracy"] = span(0.6)
    result["rivals"][0]["metrics"]["balanced_accuracy"] = span(0.6)
    result["rivals"][1]["metrics"]["balanced_accuracy"] = span(0.59)
    result["rivals"][2]["metrics"]["balanced_accuracy"] = span(0.9)  # MMSE: no rival
    text = _caveats(result)
    assert "Stamped: people unknown (41 people)." in text
    assert "The leakage audit ended with FAIL" in text
    assert "Without the network, age, sex reaches balanced accuracy .600 (.520 to .680)" in text
    assert text.count("Without the network") == 1


def test_documents_are_written_whole_and_named(tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "run", evaluate_result(), {"epoch": 3})
    assert [path.name for path in paths] == [
        *("metrics.md", "model_card.md", "claim_2024.md", "tripod_ai.md"),
    ]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        path.name for path in paths
    )
    texts = [path.read_text(encoding="utf-8") for path in paths]
    assert texts[0] == metrics_markdown(evaluate_result())
    assert "epoch 3" in texts[1]
    assert texts[2].startswith("# CLAIM 2024")
    assert texts[3].startswith("# TRIPOD+AI")
    assert all(text.endswith("\n") and "\r" not in text for text in texts)


def test_a_result_is_not_changed_by_writing_about_it() -> None:
    result = evaluate_result()
    for document in DOCUMENTS.values():
        document(result)
    assert result == evaluate_result()
