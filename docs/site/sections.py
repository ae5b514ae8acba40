"""Which page stands where on the site: every page in one section, in reading order."""

from __future__ import annotations

from dataclasses import dataclass

#: Written when the site is built: by `flag_page`, `reference_page`, and by sphinx-gallery.
FLAGS, REFERENCE, GALLERY = "flags.md", "reference.md", "examples/index.rst"


@dataclass(frozen=True)
class Section:
    """An entry of the site's head line.

    Attributes:
        name: Of its own page, without an ending.
        title: As readers see it.
        about: What it holds, in a sentence.
        pages: From the repository's root; of generated pages, the name alone.
    """

    name: str
    title: str
    about: str
    pages: tuple[str, ...]


SECTIONS = (
    Section(
        "use",
        "Use it",
        "What to type, for your own images and for new scans.",
        (
            *("docs/which_command.md", "docs/commands.md", "docs/data.md", "docs/scans.md"),
            *(
                "docs/studies.md",
                "docs/stress.md",
                "docs/phantom.md",
                "docs/predict.md",
                "docs/export.md",
            ),
            *("docs/tracking.md", "docs/coming_from_clinicadl.md"),
        ),
    ),
    Section(
        "read",
        "Read results",
        "What a result says, how far to believe it, and what was reached so far.",
        (
            *("docs/report.md", "docs/metrics.md", "docs/maps.md", "docs/results.md"),
            "docs/glossary.md",
        ),
    ),
    Section(
        "look_up",
        "Look up",
        "Every flag and every public name, written from the code.",
        (FLAGS, REFERENCE),
    ),
    Section(
        "gallery", "Examples", "Scripts that run, with the figures that they draw.", (GALLERY,)
    ),
    Section(
        "large",
        "Speed and scale",
        "Many scans, several machines, and what was attacked.",
        (
            *("docs/performance.md", "docs/scale.md", "docs/cluster/README.md"),
            "docs/reliability.md",
        ),
    ),
    Section(
        "project",
        "Project",
        "How it is built, how to add to it, and what changed.",
        ("README.md", "docs/architecture.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    ),
)
