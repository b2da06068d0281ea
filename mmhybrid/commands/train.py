"""Train a model.

mmhybrid train CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] [--auto-scale-lr] [--same-images]
"""

from argparse import Namespace
from collections.abc import Sequence

from mmhybrid.apis.training import enable_amp, enable_auto_scale_lr, latest_checkpoint, train
from mmhybrid.commands.shared.arguments import Parser, add_config, add_run, config_of_run
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.engine.ranks import together


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Train a model.')
    add_config(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='latest',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, by default from the latest one in the work folder, if it has one',
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument(
        '--same-images',
        action='store_true',
        help="scale a recipe's number of iterations by the ratio of its batch size to that of this run",
    )
    add_run(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Build the runner from the command line, and train."""
    args = parse_args(argv)
    with ending_on_mistakes() as phase:
        cfg = config_of_run(args)
        if args.amp:
            enable_amp(cfg)
        if args.auto_scale_lr:
            enable_auto_scale_lr(cfg)
        checkpoint = latest_checkpoint(cfg.work_dir) if args.resume == 'latest' else args.resume
        if checkpoint is not None:
            cfg.resume, cfg.load_from = True, checkpoint
        with together(cfg):
            train(cfg, args.same_images, phase)
