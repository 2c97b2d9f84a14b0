"""Pictures of built pages, to be looked at: desktop and phone, light and dark.

    python tests/browser/shots.py OUT_DIR [PAGE ...] [--site _build/html] [--screen]

PAGE is a path below the site, without .html (default: every page of the book).
Pictures are of the whole page; with --screen, of the first screen only.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from browsing import browser, frames, serve, settle

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--site", type=Path, default=Path("_build/html"))
    parser.add_argument("--screen", action="store_true", help="the first screen only")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--widths", default="desktop,phone")
    arguments = parser.parse_args()
    pages = arguments.pages or [
        str(path.relative_to(arguments.site).with_suffix("")) for path in sorted(arguments.site.glob("book/**/*.html"))
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with serve(arguments.site) as address, browser() as chrome:
        for theme, width in itertools.product(arguments.themes.split(","), arguments.widths.split(",")):
            w, h = WIDTHS[width]
            context = chrome.new_context(viewport={"width": w, "height": h}, color_scheme=theme)
            page = context.new_page()
            for name in pages:
                page.goto(f"{address}/{name}.html")
                settle(page)
                if not arguments.screen:
                    read_through(page)
                settle(page)
                target = arguments.out / f"{name.rsplit('/', 1)[-1]}-{width}-{theme}.png"
                page.screenshot(path=target, full_page=not arguments.screen)
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                print(target, f"overflows by {wide} px" if wide > 0 else "")
            context.close()


def read_through(page) -> None:
    """Scroll down and up again, since pictures and widgets wait for the reader."""
    for y in range(0, page.evaluate("document.documentElement.scrollHeight"), 600):
        page.evaluate("y => scrollTo({top: y, behavior: 'instant'})", y)
        frames(page)
    places = page.locator(".gahb-lazy").count()
    page.wait_for_function("n => document.querySelectorAll('.gahb-lazy > style').length === n", arg=places)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")


if __name__ == "__main__":
    main()
