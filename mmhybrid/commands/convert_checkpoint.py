"""Convert a released GLNet, GLiT or EfficientNet-Lite checkpoint into an mmpretrain classifier's.

    mmhybrid convert-checkpoint SRC DST [--arch 4g | --num-slots 49 --head-dim 32]

GLNet's tensors do not tell how many slots are pooled and how wide a head is: --arch names the published network, or
--num-slots and --head-dim say it of any other.
Any host loads the backbone from it: ``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.')``.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.models.convert import convert_file
from mmhybrid.utils.errors import sentence


def parse_args(argv: Sequence[str] | None) -> tuple[ArgumentParser, Namespace]:
    """The parser, to report errors with, and what it has parsed."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('src', metavar='SRC', type=Path, help='the released file')
    parser.add_argument('dst', metavar='DST', type=Path, help='the file to write')
    parser.add_argument('--key', help='where the weights are in SRC, such as model_ema; default: model, if it is there')
    parser.add_argument(
        '--arch', help='the published network that SRC is, such as 4g; GLNet needs this or what follows'
    )
    parser.add_argument('--num-slots', type=int, metavar='N', help='how many slots a GLNet pools')
    parser.add_argument('--head-dim', type=int, metavar='N', help='channels of a head of a GLNet')
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert; a file that does not fit ends with one sentence and exit code 2."""
    parser, args = parse_args(argv)
    try:
        meta = convert_file(args.src, args.dst, args.key, args.arch, args.num_slots, args.head_dim)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    print(f'{args.dst}: {meta["backbone"]}')
