"""Cut PNG mosaics (tiles in row-major order) into one PNG a tile, for `gahb.images.folder`.

    python tools/cut_mosaic.py MOSAIC_DIR OUT_DIR --tile 80
"""

import argparse
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaics", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile", type=int, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in tqdm(sorted(arguments.mosaics.glob("*.png")), unit="mosaic"):
        with Image.open(path) as mosaic:
            for top in range(0, mosaic.height, arguments.tile):
                for left in range(0, mosaic.width, arguments.tile):
                    tile = mosaic.crop((left, top, left + arguments.tile, top + arguments.tile))
                    if tile.getextrema() == (0, 0):
                        continue  # the last mosaic of a set ends in black tiles
                    tile.save(arguments.out / f"{count:06d}.png")
                    count += 1
    print(f"{count} tiles in {arguments.out}")


if __name__ == "__main__":
    main()
