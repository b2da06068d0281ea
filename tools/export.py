"""Write the network of a config in a format that other programs run.

    python tools/export.py CONFIG --out FILE --format onnx|coreml|torchscript|exported --shape H W [--checkpoint FILE]
        [--dynamic batch|size|both]

The file takes normalised images of one shape, or, with ``--dynamic``, of any number or height and width, and gives what
the model's heads give (logits of a classifier).
``coreml`` writes a ``.mlpackage`` (a folder) where coremltools is installed; ``exported`` is torch.export's ``.pt2``.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.registry import MODELS, init_default_scope

from mmhybrid.engine import cli
from mmhybrid.engine.export import DYNAMIC, FORMATS, export_model
from mmhybrid.models.input_channels import input_channels


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(description='Write the network of a config in a format that other programs run.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', required=True, metavar='FILE')
    parser.add_argument('--format', required=True, choices=tuple(FORMATS))
    parser.add_argument('--checkpoint', metavar='FILE', help='weights; default: at random')
    parser.add_argument(
        '--shape', nargs=2, type=int, required=True, metavar=('H', 'W'), help='of the images, such as 256 256'
    )
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images at once; default: 1')
    parser.add_argument(
        '--dynamic', choices=tuple(DYNAMIC), help='what the file takes other than --batch and --shape (onnx, exported)'
    )
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Build, load and write."""
    args = parse_args(argv)
    with cli.ending_on_mistakes():
        cfg = cli.load_config(args.config, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        if 'model' not in cfg:
            raise ValueError(f'config {args.config} has no model')
        model = MODELS.build(cfg.model)
        if args.checkpoint is not None:
            cli.load_weights(model, cli.read_checkpoint(args.checkpoint), args.checkpoint)
        export_model(model, (args.batch, input_channels(model), *args.shape), args.out, args.format, args.dynamic)
    print(f'{args.out}: {args.format}')


if __name__ == '__main__':
    main()
