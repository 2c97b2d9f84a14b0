"""Make the typeface of the figures, gahb/fonts/, from the one that the pages are set in.

    python book/web/vendor.py && python book/web/font.py  # make vendor

matplotlib reads TrueType only, and takes a string with a formula in it from one
file; the npm package has WOFF files, one a script. Latin and Greek are put
together with the mathematical signs of DejaVu, which comes with matplotlib, and
without the tables that matplotlib does not read. Both licences reserve the
names for the unchanged typefaces, so that ours is called otherwise.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import matplotlib
from fontTools.merge import Merger
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "book" / "web" / "node_modules" / "@fontsource" / "source-serif-4"
FONTS = ROOT / "gahb" / "fonts"
NAME = "Gahb Serif"
DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
# modifier letters, punctuation, super- and subscripts, letter-like signs, arrows, operators, shapes, check marks
SIGNS = [
    *range(0x1D2C, 0x1D6B), *range(0x2010, 0x20A0), *range(0x2100, 0x2300), *range(0x25A0, 0x2600), 0x2713, 0x2717,
    *range(0x27E8, 0x27EC),
]  # fmt: skip
KEPT = {  # what matplotlib reads
    "OS/2", "cmap", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "name", "post",
}  # fmt: skip


def merged(folder: Path) -> TTFont:
    """Latin, Greek and signs of the regular face as one font called NAME."""
    parts, known = [], set()
    for part in ("latin", "greek", "DejaVuSerif", "DejaVuSans"):
        if part.startswith("DejaVu"):  # what is still missing
            font = TTFont(DEJAVU / f"{part}.ttf", recalcTimestamp=False)
            chosen = Subsetter(Options(hinting=False, layout_features=[], notdef_outline=True, drop_tables=["FFTM"]))
            chosen.populate(unicodes=set(SIGNS) - known)
            chosen.subset(font)
            scale_upem(font, 1000)
        else:
            font = TTFont(PACKAGE / "files" / f"source-serif-4-{part}-400-normal.woff", recalcTimestamp=False)
            font.flavor = None
        known |= set(font.getBestCmap())
        for table in set(font.keys()) - KEPT - {"GlyphOrder"}:
            del font[table]
        parts.append(folder / f"{part}.ttf")
        font.save(parts[-1])
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # of two tables of codes it keeps one, and says so
    font = Merger().merge(list(map(str, parts)))
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6, 16):
            record.string = NAME.replace(" ", "") if record.nameID == 6 else NAME
    return font


def main() -> None:
    out, causes = FONTS / "serif.ttf", (Path(__file__), ROOT / "book" / "web" / "package-lock.json")
    if out.is_file() and out.stat().st_mtime > max(path.stat().st_mtime for path in causes):
        return
    FONTS.mkdir(exist_ok=True)
    shutil.copy(PACKAGE / "LICENSE", FONTS / "LICENSE_SOURCE_SERIF")
    shutil.copy(DEJAVU / "LICENSE_DEJAVU", FONTS / "LICENSE_DEJAVU")
    with tempfile.TemporaryDirectory() as folder:
        font = merged(Path(folder))
        font.recalcTimestamp = False
        font.save(out.with_suffix(".partial"))
    out.with_suffix(".partial").replace(out)


if __name__ == "__main__":
    main()
