"""Hold training images out for search: write two annotation files in place of one folder.

mmhybrid split-imagenet data/imagenet/train data/imagenet/meta --num-held-out 50000
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.datasets.split import write_split
from mmhybrid.utils.errors import sentence


def main(argv: Sequence[str] | None = None) -> None:
    """Write the two files; wrong arguments end with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('train', type=Path, help='folder of class folders')
    parser.add_argument('out', type=Path, help='where search_train.txt and search_val.txt go')
    parser.add_argument('--num-held-out', type=int, default=50_000, metavar='N', help='images for search_val.txt')
    parser.add_argument('--seed', type=int, default=0, metavar='S')
    args = parser.parse_args(argv)
    try:
        counts = write_split(args.train, args.out, args.num_held_out, args.seed)
    except (ValueError, OSError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    for name, count in counts.items():
        print(f'{args.out / name}: {count} images')
