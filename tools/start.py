"""Keep the Gaussian of the images that neither twin of a recipe was trained on: where networks of them start to draw.

    python tools/start.py notebooks/weights/faces-40px-n10000-first.yaml notebooks/starts/faces-40px.safetensors
"""

import argparse
from pathlib import Path

from gahb import zoo
from gahb.book import starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="of one of the twins")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--components", type=int, default=starts.COMPONENTS, help="principal components (%(default)s)")
    arguments = parser.parse_args()
    recipe = zoo.recipe(arguments.recipe)
    images = recipe.test_images(1 << 40)
    about = {"images of": recipe.images, "which": "those in neither training set"}
    starts.write(images, arguments.out, about, components=arguments.components)
    print(f"{arguments.out}: {arguments.components} components of {len(images):,} images")


if __name__ == "__main__":
    main()
