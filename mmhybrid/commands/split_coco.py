"""Hold out training images of a detector for search, as two annotation files in COCO's format in place of one.

mmhybrid split-coco data/coco/annotations/instances_train2017.json data/coco/annotations --num-held-out 5000
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.commands.shared.splitting import add_split, run_split
from mmhybrid.datasets.search_split import split_coco
from mmhybrid.utils.files import read_json


def main(argv: Sequence[str] | None = None) -> None:
    """Write the two files; wrong arguments end the program with one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='annotation file of the training images')
    parser.add_argument('out', type=Path, help='folder of search_train.json and search_val.json')
    add_split(parser, 'search_val.json', 5000)
    args = parser.parse_args(argv)
    run_split(parser, args.out, lambda: split_coco(args.annotations, args.out, args.num_held_out, args.seed))
    names = tuple(category['name'] for category in read_json(args.annotations)['categories'])
    print(f'classes = {names}')
