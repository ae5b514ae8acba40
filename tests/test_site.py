"""The site: every page has its place, every flag and public name its entry; nothing is loaded."""

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import src
from docs.site.flag_page import explaining, flag_page
from docs.site.pages import lay_out, moved, name_on_site, site_pages, start_page
from docs.site.reference_page import reference_page
from docs.site.sections import GALLERY, SECTIONS
from src.config import RunConfig
from src.config.flags import flags_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    lay_out(folder)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


def test_every_page_has_one_place():
    placed = [page for section in SECTIONS for page in section.pages]
    assert len(placed) == len(set(placed))
    there = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    own = {page for page in there if not page.startswith(("docs/_build/", "docs/site/"))}
    assert set(site_pages()) == own | {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert len(set(site_pages().values())) == len(site_pages())


def test_every_page_is_in_a_table_of_contents(laid):
    listed = {
        re.sub(r".*<(.*)>", r"\1", line)
        for text in laid.values()
        for tree in re.findall(r"```\{toctree\}\n:hidden:\n\n(.*?)\n```", text, re.S)
        for line in tree.splitlines()
    }
    assert {f"{name}.md" for name in listed} - {GALLERY.replace(".rst", ".md")} == set(laid) - {
        "index.md"
    }


def test_the_page_of_flags_has_every_flag_with_what_it_takes(laid):
    entries = dict(re.findall(r"^### `--(\w+)`\n(.*?)(?=^##|\Z)", laid["flags.md"], re.M | re.S))
    flags = {flag.name: flag for flag in flags_of(RunConfig)}
    assert entries.keys() == flags.keys()
    for name, flag in flags.items():
        said = entries[name]
        assert "- Takes: " in said
        assert all(f"`{mode}`" in said for mode in flag.modes)
        assert f"- Default: `{flag.shown_default}`" in said or not flag.shown_default
        assert flag.within is None or flag.within.words in said
        assert all(f"`{choice}`" in said for choice in flag.choices)
        linked = re.findall(r"\]\(([\w.]+)\)", said.partition("- Explained in: ")[2])
        assert linked, f"no page explains --{name}"
        assert all(f"--{name}" in laid[page].replace("--no-", "--") for page in linked)


def test_the_page_that_explains_a_flag_is_the_one_that_says_most():
    pages = {"a.md": "`--lr` once", "b.md": "`--lr`, `--no-lr` and `--lrx`", "commands.md": "--lr"}
    assert explaining("lr", pages) == ["b.md", "a.md"]
    assert explaining("lrx", {"commands.md": "--lrx"}) == ["commands.md"]
    assert explaining("gone", pages) == []


def test_help_texts_stay_as_they_are_in_markdown():
    said = flag_page({})
    assert r"95 % intervals" in said
    assert r"results/\<run>/tensorboard" in said


def test_the_page_of_public_names_has_every_name_and_refuses_silent_ones(monkeypatch):
    page = reference_page()
    for name in src.__all__:
        assert re.search(rf"^\.\. auto\w+:: src\.{name}$", page, re.M)
    silent = type("Silent", (), {})
    monkeypatch.setattr(src, "Silent", silent, raising=False)
    monkeypatch.setattr(src, "__all__", [*src.__all__, "Silent"])
    with pytest.raises(ValueError, match=r"src\.Silent has no docstring"):
        reference_page()
    silent.__doc__ = "It speaks."
    assert "| [Silent](#silent) | It speaks. |" in reference_page()


@pytest.mark.parametrize(
    ("page", "text", "said"),
    [
        ("docs/predict.md", "[a](../README.md#results)", "[a](readme.md#results)"),
        ("docs/cluster/README.md", "[a](../glossary.md#fold)", "[a](glossary.md#fold)"),
        ("README.md", "[a](docs/cluster/README.md)", "[a](cluster.md)"),
        ("README.md", "![a](docs/example_report.png)", "![a](example_report.png)"),
        ("README.md", "[run it](notebooks/quickstart.ipynb)", "run it"),
        ("README.md", "[no page](gone.md)", "[no page](gone.md)"),
        ("README.md", "[a](https://x.org/b) [b](#data)", "[a](https://x.org/b) [b](#data)"),
        ("README.md", "```md\n[a](docs/data.md)\n```", "```md\n[a](docs/data.md)\n```"),
    ],
)
def test_links_hold_where_a_page_lies_on_the_site(page, text, said):
    assert moved(text, page) == said


def test_the_start_page_has_the_parts_of_the_readme(laid):
    assert "make demo" in laid["index.md"]
    assert "<!-- README" not in laid["index.md"]
    with pytest.raises(ValueError, match="no heading '## Try it: two commands'"):
        start_page("# No such parts\n")


def test_what_is_the_same_is_not_written_again(tmp_path):
    lay_out(tmp_path)
    (tmp_path / "gone.md").write_text("of an older site", encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.md")}
    lay_out(tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.md")}
    assert before.keys() - after.keys() == {tmp_path / "gone.md"}
    assert after.items() <= before.items()


def test_an_example_is_numbered_and_begins_with_its_title():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert scripts
    for script in scripts:
        assert re.fullmatch(r"\d\d_\w+\.py", script.name)
        text = script.read_text(encoding="utf-8")
        title = re.match(r'"""\n(.+)\n(=+)\n\n', text)
        assert title, script.name
        assert len(title[1]) == len(title[2]), script.name
        assert "\n# %%\n" in text


def test_an_example_imports_names_that_are_there():
    for script in (ROOT / "examples").glob("*.py"):
        tree = ast.parse(script.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "src":
                module = import_module(node.module)
                for alias in node.names:
                    there = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                    assert there, f"{script.name}: {alias.name}"


class _Sources(HTMLParser):
    """Collects what a page loads when it is opened."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag == "link" and known.get("rel") in ("next", "prev", "search", "author", "index"):
            return
        if tag in ("script", "img", "link", "iframe", "source", "video", "audio", "object"):
            loaded = (known.get(name) for name in ("src", "href", "srcset", "data"))
            self.found += [one for one in loaded if one]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing(tmp_path):
    needed = ("sphinx", "myst_parser", "pydata_sphinx_theme", "sphinx_gallery")
    if not all(map(find_spec, needed)):
        pytest.skip('the site needs pip install ".[docs]"')
    command = [sys.executable, "-m", "docs.site.build", "--no-gallery", "--into", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    assert built.stdout == f"open {tmp_path / 'html' / 'index.html'}\n"
    html = tmp_path / "html"
    pages = {page.relative_to(html).as_posix() for page in html.rglob("*.html")}
    wanted = {Path(name).with_suffix(".html").as_posix() for name in site_pages().values()}
    assert wanted | {"index.html", "flags.html", "reference.html", "search.html"} <= pages
    assert {f"examples/{script.stem}.html" for script in (ROOT / "examples").glob("*.py")} <= pages
    for page in pages:
        text = (html / page).read_text(encoding="utf-8")
        sources = _Sources()
        sources.feed(text)
        assert [one for one in sources.found if re.match(r"(https?:)?//", one)] == [], page
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", text), page
    for style in html.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import\s*|url\()\s*['\"]?(?:https?:)?//", text), style
    assert "Trainer" in (html / "searchindex.js").read_text(encoding="utf-8")
    reference = (html / "reference.html").read_text(encoding="utf-8")
    assert all(f'id="src.{name}"' in reference for name in src.__all__)


def test_a_page_lies_on_the_site_under_its_own_name():
    assert name_on_site("docs/data.md") == "data.md"
    assert name_on_site("CHANGELOG.md") == "changelog.md"
    assert name_on_site("docs/cluster/README.md") == "cluster.md"
