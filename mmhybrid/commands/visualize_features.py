"""Show where the last features of a backbone are strong, as figure 6 of the GLiT paper does.

    mmhybrid visualize-features CONFIG CKPT IMAGE... [--out DIR]

The command writes ``DIR/features.png``: the images and, below each, the mean of its last features over the channels. It
works for any classifier, detector or segmentor.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.weights import load_weights
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.visualization.features import draw_features, feature_map
from mmhybrid.visualization.host import PhotographReader, build_host, write_pictures


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Show where the last features of a backbone are strong.')
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('images', nargs='+', metavar='image', help='image file')
    parser.add_argument('--out', metavar='DIR', help='folder of the picture; default: WORK_DIR/pictures')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load, compute, draw and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        model = build_host(cfg)
        photographs = PhotographReader(cfg, model.data_preprocessor).read_all(args.images)
        load_weights(model, read_checkpoint(args.checkpoint), args.checkpoint)
        maps = [feature_map(model.backbone, photograph.inputs) for photograph in photographs]
        title = f'{Path(args.config).stem}, {Path(args.checkpoint).stem}'
        pictures = {'features': draw_features(photographs, maps, title)}
        (path,) = write_pictures(args.out or Path(cfg.work_dir) / 'pictures', pictures)
    print(f'written: {path}')
