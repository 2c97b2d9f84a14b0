"""Print the built book as one PDF: title page, contents, every page in its order.

    python book/web/pdf.py [--site _build/html] [--out _build/pdf/gahb.pdf] [--only intro 05_calpha]

Needs Chromium (or GAHB_CHROMIUM, its path) and the Python package playwright.
Nothing is fetched: the pages, their pictures and MathJax lie in the site.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOOTER = (
    '<p style="width:100%; margin:0; text-align:center; font:8px sans-serif"><span class="pageNumber"></span></p>'
)
# Puts the articles of all pages into the one that is open. Ids get the page's
# name before them, since pages share some; links inside the book follow. Of a
# widget there remains the figure beside it.
ASSEMBLE = r"""async ({title, pages, kept}) => {
    const place = address => {
        const {pathname, hash} = new URL(address);
        return [decodeURIComponent(pathname), hash.slice(1)];
    };
    const names = new Map(pages.map(({path}, i) => [place(path)[0], `page-${i}`]));
    const book = document.createElement("main");
    const contents = document.createElement("ol");
    for (const {path, source} of pages) {
        const article = new DOMParser().parseFromString(source, "text/html").querySelector("article.bd-article");
        const name = names.get(place(path)[0]);
        const heading = article.querySelector("h1");
        const every = selector => article.querySelectorAll(selector);
        for (const node of every("script, .headerlink, .gahb-open, .gahb-rerun, details.hide")) node.remove();
        for (const node of every("img[src]")) node.src = new URL(node.getAttribute("src"), path).href;
        for (const node of every("[id]")) node.id = `${name}--${node.id}`;
        for (const node of every("a[href]")) {
            const [file, id] = place(new URL(node.getAttribute("href"), path).href);
            if (names.has(file)) node.href = `#${names.get(file)}${id ? `--${id}` : ""}`;
        }
        for (const node of every("details:not(.hide, .gahb-verdicts)")) node.open = true;
        const section = document.createElement("section");
        section.id = name;
        section.className = "gahb-printed bd-article";
        section.append(...article.childNodes);
        book.append(section);
        const item = document.createElement("li");
        const link = document.createElement("a");
        link.href = `#${name}`;
        link.textContent = heading.textContent.trim();
        item.append(link);
        contents.append(item);
    }
    const front = document.createElement("section");
    front.className = "gahb-front bd-article";
    const logo = document.querySelector(".navbar-brand img").cloneNode();
    front.append(logo, Object.assign(document.createElement("p"), {className: "title", textContent: title}), contents);
    book.prepend(front);
    document.body.replaceChildren(book);
    document.title = title;
    await MathJax.startup.promise;
    await MathJax.typesetPromise([book]);
    await document.fonts.ready;
    await Promise.all([...document.images].map(image => { image.loading = "eager"; return image.decode(); }));
    const found = {formulas: document.querySelectorAll("mjx-container").length,
                   broken: [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute("href").slice(1))
                       .filter(id => id && !document.getElementById(decodeURIComponent(id)))};
    for (const {path} of pages.filter(page => !kept.includes(page.path))) {
        const name = names.get(place(path)[0]);
        document.getElementById(name).remove();
        for (const link of document.querySelectorAll(`a[href="#${name}"], a[href^="#${name}--"]`)) {
            link.removeAttribute("href");
            if (link.closest(".gahb-front")) link.parentElement.remove();
        }
    }
    return found;
}"""


def pages(site: Path) -> list[Path]:
    """The built pages in the order of the table of contents."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [contents["root"]] + [page["file"] for part in contents["parts"] for page in part["chapters"]]
    found = [site / f"{name}.html" for name in names]
    if missing := [path.name for path in found if not path.is_file()]:
        sys.exit(f"{site} has no {missing[0]}: build the book first (make book)")
    return found


def chromium() -> str | None:
    """Path of a Chromium, or None."""
    given = os.environ.get("GAHB_CHROMIUM")
    return next(filter(None, map(shutil.which, [given] if given else BROWSERS)), None)


def write(site: Path, out: Path, only: list[str] | None = None) -> dict:
    """The PDF at `out`, whole or not at all; returns what was set: formulas, and links that lead nowhere.

    `only` names the pages that are printed, by their files' stems. All are
    set, since equations and figures are numbered through the book.
    """
    from playwright.sync_api import sync_playwright

    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    every, found = pages(site.resolve()), chromium()
    if found is None:
        sys.exit("no Chromium found: install chromium, or set GAHB_CHROMIUM to its path")
    stems = [path.stem for path in every]
    if unknown := [name for name in only or [] if name not in stems]:
        sys.exit(f"--only must name pages of the book, got {unknown[0]}; these are {', '.join(stems)}")
    kept = [path.as_uri() for path in every if not only or path.stem in only]
    sources = [{"path": path.as_uri(), "source": path.read_text(encoding="utf-8")} for path in every]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(color_scheme="light")
            page.goto(every[0].as_uri())
            page.emulate_media(media="print")
            made = page.evaluate(ASSEMBLE, {"title": title, "pages": sources, "kept": kept})
            page.pdf(
                path=partial, format="A4", tagged=True, outline=True, print_background=True,
                display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
                margin={"top": "18mm", "bottom": "20mm", "left": "20mm", "right": "20mm"},
            )  # fmt: skip
            os.replace(partial, out)
        finally:
            browser.close()
            partial.unlink(missing_ok=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "pdf" / "gahb.pdf")
    parser.add_argument("--only", metavar="PAGE", nargs="+", help="pages that are printed, by name (all)")
    arguments = parser.parse_args()
    made = write(arguments.site, arguments.out, arguments.only)
    print(f"formulas: {made['formulas']}; links that lead nowhere: {len(made['broken'])}", *made["broken"])
    print(f"The book as one file: {arguments.out.resolve().as_uri()} ({arguments.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
