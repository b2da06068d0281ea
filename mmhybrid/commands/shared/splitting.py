"""What the commands share that hold images out."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path

from mmhybrid.utils.errors import sentence


def add_split(parser: ArgumentParser, file: str, count: int) -> None:
    """``--num-held-out`` and ``--seed``.

    Args:
        parser: Of the command.
        file: Where the images go that are held out.
        count: Default of how many there are.
    """
    parser.add_argument('--num-held-out', type=int, default=count, metavar='N', help=f'images for {file}')
    parser.add_argument('--seed', type=int, default=0, metavar='S', help='of the choice')


def run_split(parser: ArgumentParser, out: Path, split: Callable[[], Mapping[str, int]]) -> None:
    """Write the files and say how many images each has; a mistake ends with one sentence and exit code 2."""
    try:
        counts = split()
    except (ValueError, OSError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    for name, count in counts.items():
        print(f'{out / name}: {count} images')
