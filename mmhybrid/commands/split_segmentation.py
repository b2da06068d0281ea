"""Hold out training images of a segmentor for search, as two lists of the images in a folder.

mmhybrid split-segmentation data/ade/images/training data/ade/annotations/training data/ade/meta --num-held-out 2000
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.commands.shared.splitting import add_split, run_split
from mmhybrid.datasets.search_split import split_segmentation


def main(argv: Sequence[str] | None = None) -> None:
    """Write the two files; wrong arguments end the program with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('images', type=Path, help='folder of the training images')
    parser.add_argument('maps', type=Path, help='folder of their label maps')
    parser.add_argument('out', type=Path, help='folder of search_train.txt and search_val.txt')
    parser.add_argument('--image-suffix', default='.jpg', metavar='S', help="img_suffix of the data set's class")
    parser.add_argument('--map-suffix', default='.png', metavar='S', help="seg_map_suffix of the data set's class")
    add_split(parser, 'search_val.txt', 2000)
    args = parser.parse_args(argv)
    suffixes = args.image_suffix, args.map_suffix
    run_split(
        parser,
        args.out,
        lambda: split_segmentation(args.images, args.maps, args.out, args.num_held_out, args.seed, *suffixes),
    )
