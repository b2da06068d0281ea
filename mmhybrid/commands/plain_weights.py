"""Extract the trained weights themselves from a checkpoint that an EMA hook saved.

    mmhybrid plain-weights CHECKPOINT OUT

A checkpoint of GLNet's recipes holds the moving average of the weights as ``state_dict``. The published accuracies are
those of the weights themselves, except for 16G. The written file can be used wherever CHECKPOINT can.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.checkpoints import plain_weights, write_checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Read the checkpoint, choose its weights and write them."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='checkpoint of a training with an EMAHook')
    parser.add_argument('out', metavar='OUT', help='the file to write')
    args = parser.parse_args(argv)
    with ending_on_mistakes():
        write_checkpoint(args.out, plain_weights(args.checkpoint))
    print(f'written: {args.out}')
