"""A stage that failed is said on the page until it succeeds, and no old map stands in for it."""

from __future__ import annotations

from pathlib import Path

from report_runs import add_maps, scored_run

from src.report.failures import FAILURES, failures_in, forget_failure, note_failure
from src.report.page.gather import gather
from src.stages.report import build_report


def test_failures_are_kept_until_each_stage_succeeds(tmp_path: Path) -> None:
    assert failures_in(tmp_path) == {}
    note_failure(tmp_path, "evaluate", "no test people")
    note_failure(tmp_path, "gradcam", "TypeError: x")
    assert failures_in(tmp_path) == {"evaluate": "no test people", "gradcam": "TypeError: x"}
    forget_failure(tmp_path, "evaluate")
    forget_failure(tmp_path, "evaluate")
    assert failures_in(tmp_path) == {"gradcam": "TypeError: x"}
    forget_failure(tmp_path, "gradcam")
    assert not (tmp_path / FAILURES).exists()
    (tmp_path / FAILURES).write_text("[", encoding="utf-8")
    assert failures_in(tmp_path) == {}


def test_the_page_says_which_stage_failed_and_why(tmp_path: Path) -> None:
    folder = scored_run(tmp_path)
    add_maps(folder, ("OAS1_0001",))
    assert gather(folder).explained is not None
    note_failure(folder, "gradcam", "no layer <b>is</b> left.")
    page = build_report(folder).read_text(encoding="utf-8")
    assert "The stage gradcam failed: no layer &lt;b&gt;is&lt;/b&gt; left." in page
    assert gather(folder).explained is None
    assert 'id="maps"' not in page
