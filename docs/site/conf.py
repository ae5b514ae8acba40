"""Settings of Sphinx. `build` calls it, with the pages that `pages` laid out."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import src.runtime  # noqa: E402 - found only from here on

src.runtime.tqdm = lambda items, *_, **__: items  # pages of examples show no progress bars

project = "alzheimers-mri"
author = "the authors"
release = version = src.__version__
language = "en"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
# The gallery keeps scripts and their copies in the folder of its pages; only the pages are read.
exclude_patterns = ["examples/**.py", "examples/**.ipynb", "**/*.codeobj.json"]

# Links go to headings by the names that a repository page gives them.
myst_heading_anchors = 4
# The glossary has no second level between its title and its words.
suppress_warnings = ["myst.header"]
# A block without a language is words, a tree of files or a terminal: nothing to colour.
highlight_language = "none"

autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
add_module_names = False
toc_object_entries = False  # headings name them already
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # "The file written: a page" names no type
# Only public names have an entry to link to: other packages and rooms are not on the site.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!src\.\w+$).*")]

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "examples",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "capture_repr": (),
    "show_memory": False,
    "min_reported_time": 10**6,  # seconds of the machine that builds the site
    "write_computation_times": False,  # its table asks the network for scripts and styles
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "plot_gallery": "True",
}

html_theme = "pydata_sphinx_theme"
html_title = "Alzheimer's MRI"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_show_search_summary = False  # a page that was opened from a disk may not read another
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
}
copyright = "the authors, MIT licence. Research use only, not a medical device"
html_show_sphinx = False
