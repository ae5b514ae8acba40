"""Build the site: ``python -m docs.site.build``, or ``make docs``.

A broken link, a page that stands nowhere, or a public name without a docstring fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .pages import HERE, ROOT, lay_out

BUILT = ROOT / "docs" / "_build"


def build(target: Path = BUILT, *, gallery: bool = True) -> int:
    """Lay the pages out and call Sphinx; every warning is an error.

    Args:
        target: Gets ``source`` and ``html``.
        gallery: Run the examples; without, their pages have no figures.

    Returns:
        Sphinx's exit status.
    """
    from sphinx.cmd.build import main as sphinx

    source, html = target / "source", target / "html"
    lay_out(source)
    words = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-c", str(HERE)]
    words += ["-D", f"plot_gallery={int(gallery)}"]
    return sphinx([*words, "-d", str(target / "doctrees"), str(source), str(html)])


def main(argv: Sequence[str] | None = None) -> int:
    """Build and say which file to open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-gallery", action="store_true", help="leave the examples unrun")
    parser.add_argument("--into", type=Path, default=BUILT, help="folder (default: docs/_build)")
    given = parser.parse_args(argv)
    if status := build(given.into, gallery=not given.no_gallery):
        return status
    print(f"open {given.into / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
