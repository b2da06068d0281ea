"""Arguments of the commands that hold out images."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path

from mmhybrid.utils.errors import sentence


def add_split(parser: ArgumentParser, file: str, count: int) -> None:
    """Add ``--num-held-out`` and ``--seed``.

    Args:
        parser: Parser of the command.
        file: Name of the file of the held-out images.
        count: Default of ``--num-held-out``.
    """
    parser.add_argument('--num-held-out', type=int, default=count, metavar='N', help=f'number of images in {file}')
    parser.add_argument('--seed', type=int, default=0, metavar='S', help='seed of the choice')


def run_split(parser: ArgumentParser, out: Path, split: Callable[[], Mapping[str, int]]) -> None:
    """Write the files and print their image counts; a mistake ends the program with one sentence and exit code 2."""
    try:
        counts = split()
    except (ValueError, OSError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    for name, count in counts.items():
        print(f'{out / name}: {count} images')
