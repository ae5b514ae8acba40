"""CLAIM 2024 and TRIPOD+AI, filled in as far as a result knows its own study.

Topics are in our own words; the papers' wording counts. What a run cannot know is left to the
author, and what it did not do is said to be not done.

Sources: Tejani et al. (2024), doi:10.1148/ryai.240300, 44 items; Collins et al. (2024),
doi:10.1136/bmj-2023-078378, 27 items in 52 parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .markdown import escape, join_lines, table
from .run_facts import AUTHOR, NOT_DONE, stamped
from .study_facts import facts

#: Number, topic and answer; ``{key}`` is a key of `facts`.
_Item = tuple[str, str, str]
CLAIM: dict[str, tuple[_Item, ...]] = {
    "Title and abstract": (
        (
            "1",
            "named as a study of AI, with the kind of technique",
            "{technique}; title: " + AUTHOR,
        ),
        ("2", "abstract: design, methods, results, conclusions", f"{{performance}}; {AUTHOR}"),
    ),
    "Introduction": (
        ("3", "background, intended use and role", f"research use only; {AUTHOR}"),
        ("4", "aims and hypotheses", AUTHOR),
    ),
    "Study design": (
        ("5", "prospective or retrospective", "{design}"),
        ("6", "goal of the study", "{goal}"),
    ),
    "Data": (
        ("7", "sources of data", "{source}"),
        ("8", "who is included and excluded", "{eligibility}"),
        ("9", "preprocessing", "{preprocessing}"),
        (
            "10",
            "parts of the data that were chosen",
            "people as in item 8, slices or volumes as in item 9",
        ),
        ("11", "de-identification", "{deidentification}"),
        ("12", "missing data", "{missing}"),
        ("13", "acquisition of the images", f"as the source describes; {AUTHOR}"),
    ),
    "Reference standard": (
        ("14", "how it was obtained", "{reference}"),
        ("15", "why it was chosen", f"it rests on an interview, not on the image; {AUTHOR}"),
        ("16", "who made the annotations", f"raters of the source; {AUTHOR}"),
        ("17", "annotation of the test set", "the same ratings as in training; none was made anew"),
        ("18", "variability between and within raters", f"{NOT_DONE}: one rating per scan"),
    ),
    "Partitions": (
        ("19", "how data were assigned", "{partition}"),
        ("20", "level at which partitions are disjoint", "{disjoint}"),
        ("21", "intended sample size for testing", "{size}"),
    ),
    "Model": (
        ("22", "description of the model", "{model}"),
        ("23", "software", "{versions}"),
        ("24", "initial parameters", "{initialisation}"),
    ),
    "Training": (
        ("25", "training", "{training}; {imbalance}"),
        ("26", "choice of the final model", "{selection}"),
        ("27", "ensembles", "{ensembling}"),
    ),
    "Evaluation": (
        ("28", "metrics", "{metrics}"),
        ("29", "significance and uncertainty", "{uncertainty}"),
        (
            *("30", "robustness and sensitivity"),
            "age: {confounding}; subgroups: {subgroups}; retest: {retest}",
        ),
        ("31", "explanation of single answers", f"maps are no part of this result; {AUTHOR}"),
        ("32", "internal testing", "{internal}"),
        ("33", "external testing", "{external}"),
        ("34", "registration of a clinical trial", f"no trial; {AUTHOR}"),
    ),
    "Results": (
        ("35", "numbers included and excluded", "{counts}; excluded: rejected.csv"),
        ("36", "characteristics of people per partition", "{demographics}"),
        ("37", "performance with uncertainty", "{performance}; calibration: {calibration}"),
        ("38", "diagnostic performance and its precision", "{per_class}"),
        ("39", "analysis of wrong answers", "{failures}"),
    ),
    "Discussion": (
        ("40", "limitations", "{limits}"),
        ("41", "meaning for practice, intended use", f"research use only; {AUTHOR}"),
    ),
    "Other": (
        ("42", "protocol or further detail", f"settings of the run in config.json; {AUTHOR}"),
        ("43", "availability of software, model and data", f"source: {{source}}; {AUTHOR}"),
        ("44", "funding and the funders' role", AUTHOR),
    ),
}
#: As `CLAIM`; the letters after the number are D (development), E (evaluation) or both.
TRIPOD: dict[str, tuple[_Item, ...]] = {
    "Title and abstract": (
        ("1 D;E", "title: development or evaluation, population, outcome", AUTHOR),
        ("2 D;E", "abstract, by its own checklist", AUTHOR),
    ),
    "Introduction": (
        ("3a D;E", "health care context, rationale, earlier models", AUTHOR),
        ("3b D;E", "target population, purpose, users", f"research use only; {AUTHOR}"),
        ("3c D;E", "known inequalities of health", AUTHOR),
        ("4 D;E", "objectives: development, evaluation or both", "{goal}"),
    ),
    "Methods": (
        ("5a D;E", "sources of data, why, how representative", f"{{source}}; why: {AUTHOR}"),
        ("5b D;E", "dates", AUTHOR),
        ("6a D;E", "setting and centres", f"as the source describes; {AUTHOR}"),
        ("6b D;E", "eligibility", "{eligibility}"),
        ("6c D;E", "treatments", f"not recorded in the data; {AUTHOR}"),
        ("7 D;E", "preparation and quality of data, alike across groups", "{preprocessing}"),
        ("8a D;E", "outcome, when and how assessed, why", "{reference}; at the scan, no horizon"),
        ("8b D;E", "assessors of the outcome", f"raters of the source; {AUTHOR}"),
        ("8c D;E", "blinding of the outcome", AUTHOR),
        ("9a D", "choice of predictors", "the image alone; none was selected"),
        ("9b D;E", "definition of predictors", "voxels: {preprocessing}"),
        ("9c D;E", "assessors of predictors", "none: the image is read by the network"),
        ("10 D;E", "sample size", "{size}"),
        ("11 D;E", "missing data", "{missing}"),
        ("12a D", "use and partition of the data", "{partition}; disjoint by {disjoint}"),
        ("12b D", "handling of predictors", "{preprocessing}"),
        (
            "12c D",
            "type of model, building, tuning, validation",
            "{model}; {training}; {selection}",
        ),
        ("12d D;E", "differences between clusters", f"{NOT_DONE}: no site is known"),
        ("12e D;E", "measures and plots of performance", "{metrics}; {uncertainty}"),
        ("12f E", "updating after evaluation", f"{NOT_DONE}: nothing was changed after scoring"),
        ("12g E", "how predictions were calculated", "{output}; by this project's code"),
        ("13 D;E", "class imbalance", "{imbalance}; calibration: {calibration}"),
        (
            "14 D;E",
            "fairness",
            f"{NOT_DONE}: no method was used to change it; scores by group: {{subgroups}}",
        ),
        ("15 D", "output and thresholds", "{output}"),
        ("16 D;E", "development against evaluation data", "one source and one preprocessing"),
        ("17 D;E", "ethical approval and consent", f"{{deidentification}}; {AUTHOR}"),
    ),
    "Open science": (
        ("18a D;E", "funding", AUTHOR),
        ("18b D;E", "conflicts of interest", AUTHOR),
        ("18c D;E", "protocol", AUTHOR),
        ("18d D;E", "registration", AUTHOR),
        ("18e D;E", "data sharing", f"{{source}}; {AUTHOR}"),
        ("18f D;E", "code sharing", f"versions: {{versions}}; {AUTHOR}"),
    ),
    "Patients and the public": (("19 D;E", "their involvement", AUTHOR),),
    "Results": (
        ("20a D;E", "flow of people, with and without the outcome", "{counts}"),
        ("20b D;E", "characteristics of people", "{demographics}"),
        ("20c E", "development and evaluation people compared", f"{{counts}}; age, sex: {AUTHOR}"),
        ("21 D;E", "people and outcomes in each analysis", "{counts}"),
        (
            "22 D",
            "the full model, for use by others",
            f"the checkpoint, {{model}}; access: {AUTHOR}",
        ),
        ("23a D;E", "performance with intervals, also of subgroups", "{performance}; {subgroups}"),
        ("23b D;E", "performance across clusters", f"{NOT_DONE}: no site is known"),
        ("24 E", "results of updating", f"{NOT_DONE}: nothing was updated"),
    ),
    "Discussion": (
        ("25 D;E", "interpretation, with fairness", AUTHOR),
        ("26 D;E", "limitations", "{limits}"),
        (
            "27a D",
            "poor or missing input in use",
            f"a scan that cannot be read is rejected; {AUTHOR}",
        ),
        ("27b D", "what users do and must know", f"research use only; {AUTHOR}"),
        ("27c D;E", "next steps, generalisation", f"external testing: {{external}}; {AUTHOR}"),
    ),
}


def claim_markdown(results: dict[str, Any]) -> str:
    """Return the 44 items of CLAIM 2024 as a table."""
    return _checklist("CLAIM 2024", "Tejani et al. (2024), doi:10.1148/ryai.240300", CLAIM, results)


def tripod_markdown(results: dict[str, Any]) -> str:
    """Return the 27 items (52 parts) of TRIPOD+AI as a table."""
    note = "D: development, E: evaluation. "
    paper = "Collins et al. (2024), doi:10.1136/bmj-2023-078378"
    return _checklist("TRIPOD+AI", paper, TRIPOD, results, note)


def _checklist(
    name: str,
    paper: str,
    items: Mapping[str, tuple[_Item, ...]],
    results: dict[str, Any],
    note: str = "",
) -> str:
    known = facts(results)
    rows = []
    for section, entries in items.items():
        rows += [
            [section if place == 0 else "", number, topic, answer.format_map(known)]
            for place, (number, topic, answer) in enumerate(entries)
        ]
    run = f"Run {escape(results['run'])}, data set {escape(results['dataset'])}. "
    about = (
        f"{run}{paper}. {note}Topics are in short words of our own, and numbers were compared with "
        f'copies of the list: check both against the paper. "{AUTHOR}" is what a run cannot '
        f'know, "{NOT_DONE}" what it did not do.'
    )
    head = ["section", "item", "topic", "answer"]
    return join_lines([[f"# {name}"], *stamped(results), [about], table(head, rows)])
