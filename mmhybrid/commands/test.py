"""Evaluate a checkpoint, which has to fit the config's model exactly, or an exported file.

    mmhybrid test CONFIG CHECKPOINT [--work-dir DIR] [--split val] [--tta] [--deploy] [--out PREDICTIONS.pkl]
    mmhybrid test CONFIG FILE --runtime onnxruntime|openvino|executorch [--split val] [--out PREDICTIONS.pkl]

With ``--runtime``, the exported file computes the predictions, and the config gives the data and the metrics. The
classes and images in the file's metadata have to fit the config.
"""

from argparse import Namespace
from collections.abc import Sequence

from mmhybrid.apis.runtimes import RUNTIMES, SECONDS, open_network
from mmhybrid.apis.testing import enable_tta, evaluate
from mmhybrid.commands.shared.arguments import Parser, add_config, add_run, config_of_run
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.engine.ranks import together


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Evaluate a checkpoint.')
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file; with --runtime an exported one')
    parser.add_argument('--runtime', choices=tuple(RUNTIMES), help='runtime of an exported file')
    parser.add_argument(
        '--timeout',
        type=float,
        default=SECONDS,
        metavar='SECONDS',
        help=f'time limit for --runtime to open the file, and to run a batch; default: {SECONDS:g}',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='where to write the predictions')
    parser.add_argument('--split', choices=('test', 'val'), default='test', help='images to evaluate on; default: test')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="merge the predictions for the config's versions of each image, or for it and its mirror image",
    )
    parser.add_argument(
        '--deploy', action='store_true', help='score the deployed form, in which mmhybrid export writes the network'
    )
    add_run(parser)
    args = parser.parse_args(argv)
    if args.runtime is not None and (args.tta or args.deploy):
        parser.error('--runtime: not allowed with --tta and --deploy, since an exported file is evaluated as it is')
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out: got {args.out}, allowed: a file ending in .pkl or .pickle')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Build the runner from the command line, and evaluate."""
    args = parse_args(argv)
    with ending_on_mistakes() as phase:
        cfg = config_of_run(args)
        network = None if args.runtime is None else open_network(args.checkpoint, args.runtime, args.timeout)
        cfg.load_from = args.checkpoint if network is None else None
        if args.split == 'val':
            cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        if args.tta:
            enable_tta(cfg)
        if args.deploy:
            cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), {'type': 'mmhybrid.DeployHook'}]
        with together(cfg):
            evaluate(cfg, args.out, phase, network)
