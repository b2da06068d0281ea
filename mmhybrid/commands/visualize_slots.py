"""Show which pixels a GLNet assigns to each of its slots, as the paper's figures 5 to 8 do.

    mmhybrid visualize-slots CONFIG CKPT IMAGE... [--more-checkpoints CKPT ...] [--blocks N ...] [--out DIR]

The command writes ``DIR/IMAGE_slots.png`` for each image, with a column for each block and a row for each checkpoint.
Blocks are counted from 1 over all stages; the default is the first block of stage 3. It works for any classifier,
detector or segmentor with a GLNet.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.weights import load_weights
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.visualization.host import PhotographReader, build_host, distinct_names, write_pictures
from mmhybrid.visualization.slots import (
    WEIGHTS,
    Panel,
    assignment_maps,
    check_limits,
    choose_blocks,
    draw_slots,
    slot_blocks,
)


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Show which pixels a GLNet assigns to each of its slots.')
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', metavar='image', help='image file; each gets a picture')
    parser.add_argument(
        '--more-checkpoints',
        nargs='+',
        default=[],
        metavar='FILE',
        help='further checkpoint files; each gets a row of the picture',
    )
    parser.add_argument(
        '--blocks',
        nargs='+',
        type=int,
        metavar='N',
        help='numbers of the blocks to show; default: the first of stage 3',
    )
    parser.add_argument(
        '--weights',
        choices=tuple(WEIGHTS),
        default='dispatch',
        help='weights that sum to 1 over the slots at each pixel (default), or over the pixels of each slot',
    )
    parser.add_argument(
        '--range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help="weights of the darkest and the brightest colour; default: each block's minimum and maximum",
    )
    parser.add_argument(
        '--stretch-first', action='store_true', help='apply --range to all checkpoints but the first (figure 7)'
    )
    parser.add_argument('--out', metavar='DIR', help='folder of the pictures; default: WORK_DIR/pictures')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load, compute, draw and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        limits = None if args.range is None else check_limits(*args.range)
        if args.stretch_first and limits is None:
            raise ValueError('--stretch-first: got no --range, allowed: only beside it')
        cfg = load_config(args.config, args.cfg_options)
        model = build_host(cfg)
        blocks = choose_blocks(slot_blocks(model.backbone), args.blocks)
        photographs = PhotographReader(cfg, model.data_preprocessor).read_all(args.images)
        rows: list[list[list[Panel]]] = [[] for _ in photographs]
        checkpoints = [args.checkpoint, *args.more_checkpoints]
        for path, name in zip(checkpoints, distinct_names(checkpoints), strict=True):
            load_weights(model, read_checkpoint(path), path)
            for photograph, panels in zip(photographs, rows, strict=True):
                maps = assignment_maps(model.backbone, blocks, photograph.inputs, args.weights)
                own = None if args.stretch_first and path == args.checkpoint else limits
                panels.append([Panel(f'{name}, {b.name}', m, own) for b, m in zip(blocks, maps, strict=True)])
        drawn = {
            f'{photograph.name}_slots': draw_slots(photograph, panels)
            for photograph, panels in zip(photographs, rows, strict=True)
        }
        written = write_pictures(args.out or Path(cfg.work_dir) / 'pictures', drawn)
    for path in written:
        print(f'written: {path}')
