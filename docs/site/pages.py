"""Lay the pages out as Sphinx reads them: one folder, with links that hold there.

The pages stay as they are in the repository, where their links lead from file to file. On the site
a page of a room above lies beside the others, and a file that is no page has no place: its link
becomes plain words.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

from .flag_page import flag_page, title_of
from .reference_page import reference_page
from .sections import FLAGS, GALLERY, REFERENCE, SECTIONS, Section

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_GENERATED = {FLAGS, REFERENCE, GALLERY}


def name_on_site(page: str) -> str:
    """Return where a page of the repository lies on the site: ``docs/data.md`` -> ``data.md``."""
    if page in _GENERATED:
        return page
    if page == "docs/cluster/README.md":
        return "cluster.md"
    return PurePosixPath(page).name.lower()


def site_pages() -> dict[str, str]:
    """Return every page of the repository: its path there, and its name on the site."""
    every = [page for section in SECTIONS for page in section.pages if page not in _GENERATED]
    return {page: name_on_site(page) for page in every}


def moved(text: str, page: str) -> str:
    """Return a page with the links that hold on the site.

    Args:
        text: Markdown.
        page: Its path in the repository.
    """
    names = site_pages()
    folder = PurePosixPath(page).parent

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        file, hash_, anchor = target.partition("#")
        if not file or re.match(r"[a-z]+:", file):
            return match[0]
        path = _normal(folder / file)
        if path in names:
            return f"[{words}]({names[path]}{hash_}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # which Sphinx refuses
        if picture:
            return f"![{words}]({PurePosixPath(path).name})"
        return words

    return "".join(
        part if fenced else _LINK.sub(link, part) for part, fenced in _fenced_parts(text)
    )


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _fenced_parts(text: str) -> list[tuple[str, bool]]:
    """Return a page in pieces, and whether each is a fenced block, where nothing is a link."""
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return [(piece, index % 2 == 1) for index, piece in enumerate(pieces)]


def _whom(text: str) -> str:
    """Return what a page says of whom it is for, as the end of a line; empty where it does not."""
    opening = " ".join(text.split("\n\n")[1].split())
    found = re.match(r"F(or anyone who .*?)[.:](?= |$)", opening)
    return f": f{_LINK.sub(lambda link: link[2], found[1])}" if found else ""


def section_page(section: Section, texts: dict[str, str]) -> str:
    """Return the page of a section: its pages, each with its title and whom it is for.

    Args:
        section: Whose page it is.
        texts: Of every page, by its name on the site.
    """
    names = [name_on_site(page) for page in section.pages]
    lines = [f"# {section.title}", "", section.about, ""]
    lines += [f"- [{title_of(texts[name])}]({name}){_whom(texts[name])}" for name in names]
    listed = "\n".join(PurePosixPath(name).with_suffix("").as_posix() for name in names)
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", listed, "```", ""])


def start_page(readme: str) -> str:
    """Return the start page: what `start.md` says, with parts of the README where it names them."""

    def part(match: re.Match[str]) -> str:
        found = re.search(rf"^## {re.escape(match[1])}\n(.*?)(?=^## |\Z)", readme, re.M | re.S)
        if found is None:
            raise ValueError(f"README.md has no heading '## {match[1]}', which start.md wants")
        return f"## {match[1]}\n{moved(found[1], 'README.md')}".rstrip()

    text = moved((HERE / "start.md").read_text(encoding="utf-8"), "docs/site/start.md")
    text = re.sub(r"^<!-- README: (.*) -->$", part, text, flags=re.M)
    listed = "\n".join(_entry(section) for section in SECTIONS)
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def _entry(section: Section) -> str:
    """Return a section's line in the contents; one of a single page is that page."""
    only = PurePosixPath(section.pages[0]).with_suffix("").as_posix()
    return f"{section.title} <{only if len(section.pages) == 1 else section.name}>"


def lay_out(target: Path) -> None:
    """Write everything that Sphinx reads; a file that would be the same is not touched.

    Args:
        target: Folder.
    """
    texts = {
        name: moved((ROOT / page).read_text(encoding="utf-8"), page)
        for page, name in site_pages().items()
    }
    told_of = {name: text for name, text in texts.items() if name not in _NO_EXPLANATIONS}
    texts |= {FLAGS: flag_page(told_of), REFERENCE: reference_page()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    texts["index.md"] = start_page(readme)
    texts |= {f"{one.name}.md": section_page(one, texts) for one in SECTIONS if len(one.pages) > 1}
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = target / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for old in {path.name for path in target.glob("*.md")} - set(texts):
        (target / old).unlink()
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy2(picture, target / picture.name)


#: Pages that name flags without explaining them.
_NO_EXPLANATIONS = {
    *("changelog.md", "contributing.md", "architecture.md", "readme.md", "which_command.md")
}
