"""Hold out training images of a classifier for search, as two annotation files in place of one folder.

mmhybrid split-imagenet data/imagenet/train data/imagenet/meta --num-held-out 50000
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.commands.shared.splitting import add_split, run_split
from mmhybrid.datasets.split import write_split


def main(argv: Sequence[str] | None = None) -> None:
    """Write the two files; wrong arguments end the program with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('train', type=Path, help='folder with one folder of images for each class')
    parser.add_argument('out', type=Path, help='folder of search_train.txt and search_val.txt')
    add_split(parser, 'search_val.txt', 50_000)
    args = parser.parse_args(argv)
    run_split(parser, args.out, lambda: write_split(args.train, args.out, args.num_held_out, args.seed))
