"""Convert a released GLNet, GLiT or EfficientNet-Lite checkpoint into that of an mmpretrain classifier.

    mmhybrid convert-checkpoint SRC DST [--arch 4g | --num-slots 49 --head-dim 32]

The tensors of a GLNet do not determine its number of pooled slots and the width of its heads. --arch names the
published network, or --num-slots and --head-dim give both for any other network. Configs of OpenMMLab load the backbone
of the result by
``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.')``.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.models.convert import convert_file
from mmhybrid.utils.errors import sentence


def parse_args(argv: Sequence[str] | None) -> tuple[ArgumentParser, Namespace]:
    """Return the parser, which reports errors, and the parsed arguments."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('src', metavar='SRC', type=Path, help='the released file')
    parser.add_argument('dst', metavar='DST', type=Path, help='the file to write')
    parser.add_argument('--key', help='key of the weights in SRC, such as model_ema; default: model, if SRC has it')
    parser.add_argument(
        '--arch', help='published network in SRC, such as 4g; a GLNet needs it, or --num-slots and --head-dim'
    )
    parser.add_argument('--num-slots', type=int, metavar='N', help='number of slots that a GLNet pools')
    parser.add_argument('--head-dim', type=int, metavar='N', help='number of channels of each head of a GLNet')
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert a checkpoint; a file that does not fit ends the program with one sentence and exit code 2."""
    parser, args = parse_args(argv)
    try:
        meta = convert_file(args.src, args.dst, args.key, args.arch, args.num_slots, args.head_dim)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {sentence(error)}\n')
    print(f'{args.dst}: {meta["backbone"]}')
