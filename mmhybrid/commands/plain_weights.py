"""Take the weights as trained out of a checkpoint that an EMA hook saved.

    mmhybrid plain-weights CHECKPOINT OUT

A checkpoint of GLNet's recipes holds the running average of the weights as ``state_dict``; the published accuracies are
of the weights themselves, but for 16G. What is written goes wherever CHECKPOINT goes.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.checkpoints import plain_weights, write_checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Read, choose and write."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='saved by a training with an EMAHook')
    parser.add_argument('out', metavar='OUT', help='the file to write')
    args = parser.parse_args(argv)
    with ending_on_mistakes():
        write_checkpoint(args.out, plain_weights(args.checkpoint))
    print(f'written: {args.out}')
