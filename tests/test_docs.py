"""The words: lines that fit a screen, links that lead somewhere, commands that the parser takes."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import src
from src.cli import FULL, STAGES, build_parser
from src.config import BACKBONES, COHORTS, DATASETS, config_from_args
from src.config.training import IN_MNI
from src.errors import MriError

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 120
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *sorted(set((ROOT / "docs").rglob("*.md")) - set((ROOT / "docs/_build").rglob("*.md"))),
    ]
}
COMMANDS = PAGES["docs/commands.md"].read_text(encoding="utf-8")
#: Pages for those who know the words, and the page that explains them.
NO_GUIDES = {"CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/glossary.md"}
#: What a reader puts in place of these words. RUN alone is a name, `<...>` a pattern of one.
FILLED = {"DIR": "folder", "FILE": "file", "PATH": "scan.nii.gz", "RUN": "a_run"}


def tokens(path):
    """Return the Markdown of a page, block by block and piece by piece."""
    blocks = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    return [piece for block in blocks for piece in (block, *(block.children or []))]


def links(path):
    """Return where the links and pictures of a page lead."""
    found = [token.attrs.get("href", token.attrs.get("src")) for token in tokens(path)]
    return [str(target) for target in found if target]


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    pieces = tokens(path)
    titles = [after.content for token, after in pairwise(pieces) if token.type == "heading_open"]
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain]


def commands(path):
    """Return the words after ``main.py`` of every command that a page prints."""
    lines = [
        line
        for token in tokens(path)
        if token.type in ("code_inline", "code_block", "fence")
        for line in token.content.replace("\\\n", " ").splitlines()  # continued by a backslash
    ]
    whole = re.compile(r"(?:\bpython|\bpy|torchrun .*--) main\.py( .*|$)")
    found = [match[1] for line in lines if (match := whole.search(line))]
    return [shlex.split(line, comments=True) for line in found]


def broken(path):
    """Return the links of a page to files and headings of the project that are not there."""
    wrong = []
    for target in links(path):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        file = path if not name else path.parent / name
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_longer_than_a_screen(page):
    lines = PAGES[page].read_text(encoding="utf-8").splitlines()
    assert [(n, line) for n, line in enumerate(lines, 1) if len(line) > LONGEST] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    assert broken(PAGES[page]) == []


# The commands of CONTRIBUTING.md name what its recipes add: test_recipes.py runs them.
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "CONTRIBUTING.md"])
def test_every_command_is_one_that_the_parser_takes(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "a_run").mkdir(parents=True)
    (tmp_path / "results" / "a_run" / "config.json").write_text("{}", encoding="utf-8")
    for words in commands(PAGES[page]):
        filled = [re.sub(r"\b(DIR|FILE|PATH|RUN)\b", lambda m: FILLED[m[1]], w) for w in words]
        try:
            config_from_args(build_parser().parse_args(filled))
        except (SystemExit, MriError) as error:
            pytest.fail(f"main.py {' '.join(words)}: {error}")


def test_commands_are_found_where_readers_see_them():
    readme = commands(PAGES["README.md"])
    demo = "--mode full --dataset phantom_3d --volume_size 64 --phantom_subjects 160"
    demo += " --phantom_variety 1 --test_fraction 0.4 --classes 2 --epochs 12"
    demo += " --precision fp32 --run demo"
    assert demo.split() in readme  # goes on in a second line
    assert demo in " ".join((ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ").split())
    cluster = commands(PAGES["docs/commands.md"])
    assert ["--mode", "train", "--dataset", "oasis_3d"] in cluster  # behind torchrun


def test_a_page_lists_every_mode():
    listed = COMMANDS.partition("## Modes")[2].partition("\n## ")[0]
    assert set(re.findall(r"^- `(\w+)`", listed, re.M)) == {*STAGES, "full"}
    assert "`full`: the four above" in listed
    assert tuple(re.findall(r"^- `(\w+)`", listed, re.M)[:4]) == FULL


def test_a_page_lists_every_flag_and_no_other():
    listed = COMMANDS.partition("## Flags")[2]
    flags = {
        flag
        for action in build_parser()._actions
        for flag in action.option_strings
        if flag.startswith("--") and not flag.startswith("--no-")
    } - {"--help", "--help-all", "--help_all"}
    items = "\n".join(re.findall(r"^- (.*?):", listed, re.M))
    assert set(re.findall(r"--[a-z0-9_]+", items)) == flags


def test_a_page_lists_every_data_set_and_network():
    listed = COMMANDS.partition("## Data sets and networks")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", listed)) - {"preprocess"}
    assert named == {*COHORTS, *DATASETS, *BACKBONES["2d"], *BACKBONES["3d"], *IN_MNI}


def test_the_glossary_goes_from_a_to_z_and_is_short():
    text = PAGES["docs/glossary.md"].read_text(encoding="utf-8")
    terms = re.findall(r"^### (.*)\n\n((?:.+\n?)+)", text, re.M)
    names = [name for name, _ in terms]
    assert names == sorted(names, key=str.lower)
    assert len(terms) == len(re.findall("^###", text, re.M)) > 60
    long = [name for name, said in terms if len(re.findall(r"[.!?](?=\s)", said)) > 3]
    assert long == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NO_GUIDES])
def test_a_page_says_whom_it_is_for_and_where_its_words_are_explained(page):
    title, opening = PAGES[page].read_text(encoding="utf-8").split("\n\n")[:2]
    assert title.startswith("# ")
    assert opening.startswith("For anyone who ") or page == "README.md"
    assert any("glossary.md#" in target for target in links(PAGES[page]))


def test_every_module_and_target_that_a_page_names_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page, path in PAGES.items():
        said = "\n".join(t.content for t in tokens(path) if t.type.startswith(("code", "fence")))
        named = re.findall(r"(?<![\w/])(?:src|tests|benchmarks|docs)/[\w/.]*\w", said)
        made = re.findall(r"^New file `(.*)`:", path.read_text(encoding="utf-8"), re.M)  # recipes
        assert [n for n in named if n not in made and not (ROOT / n).exists()] == [], page
        targets = re.findall(r"^make ([\w-]+)", said, re.M)
        assert [name for name in targets if f"\n{name}:" not in makefile] == [], page


def test_every_name_that_a_page_imports_is_public():
    for page, path in PAGES.items():
        blocks = [t.content for t in tokens(path) if t.type == "fence" and t.info == "python"]
        lines = re.findall(r"^from src import (.*)$", "\n".join(blocks), re.M)
        named = [name.strip() for line in lines for name in line.split(",")]
        assert set(named) - set(src.__all__) == set(), page
        for name in named:
            assert callable(getattr(src, name))
