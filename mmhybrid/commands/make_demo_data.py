"""Draw the demo data set: small scenes of textured shapes in the ImageNet, COCO and ADE20K layouts.

mmhybrid make-demo-data data/demo
"""

import argparse
from collections.abc import Sequence

from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.utils.errors import sentence


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Return the parser, which reports errors, and the parsed arguments."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        'out', metavar='OUT', help='a new folder, or one that already has this data set, which is not changed'
    )
    parser.add_argument('--num-train', type=int, default=1600, metavar='N', help='number of training scenes')
    parser.add_argument('--num-val', type=int, default=100, metavar='N', help='number of validation scenes')
    parser.add_argument('--size', type=int, default=128, metavar='PX', help='height and width of a scene in pixels')
    parser.add_argument('--seed', type=int, default=0, metavar='S', help='seed of the scenes')
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set; wrong arguments end the program with one sentence and exit code 2."""
    parser, args = parse_args(argv)
    try:
        written = make_demo_data(args.out, args.num_train, args.num_val, args.size, args.seed)
    except (ValueError, OSError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    print(f'{args.out}: {"written" if written else "already complete"}')
