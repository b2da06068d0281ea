"""Write the network of a config in a format that other programs run.

    mmhybrid export CONFIG --out FILE --format onnx|openvino|executorch|coreml|torchscript|exported [--checkpoint FILE]
        [--shape H W] [--dynamic batch|size|both] [--end-to-end] [--as-trained]
        [--dtype float32|float16|int8] [--calibration-images N] [--keep-float GROUP ...]

The file takes normalised images of one shape, or, with ``--dynamic``, of any number or height and width, and gives what
the model's heads give (logits of a classifier).
Norms and what else can be are folded into the layers beside them, but with ``--as-trained``; the outputs are the same.
Images have the size that the network was made for, which a searched network keeps; another takes ``--other-shape``.
With ``--end-to-end``, the ONNX file of a one-stage detector or of a segmentor takes photographs and gives boxes, or a
class for each pixel (docs/deployment.md).
With ``--dtype int8``, layers with weights are quantised (onnx, openvino), by the ranges that random training images
have; ``float16`` halves the weights.
ONNX, OpenVINO, ExecuTorch and Core ML files say what they take: resolution, normalisation, class names, origin.
``openvino`` writes an ``.xml`` with a ``.bin`` beside it, ``executorch`` a ``.pte`` (for XNNPACK) with a ``.json`` that
says what it takes, ``coreml`` a ``.mlpackage`` (a folder), each where its package is installed; ``exported`` is
torch.export's ``.pt2``.
"""

from argparse import Namespace
from collections.abc import Sequence

from mmhybrid.apis.calibration_images import USUAL
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export import DTYPES, DYNAMIC, FORMATS
from mmhybrid.apis.exporting import export_config
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.latency.quantization import GROUPS, KEPT


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = Parser(description='Write the network of a config in a format that other programs run.')
    add_config(parser)
    parser.add_argument('--out', required=True, metavar='FILE')
    parser.add_argument('--format', required=True, choices=tuple(FORMATS))
    parser.add_argument('--checkpoint', metavar='FILE', help='weights; default: at random')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help='of the images; default: what the config says'
    )
    parser.add_argument('--other-shape', action='store_true', help='allow a --shape that is not the one of the config')
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images at once; default: 1')
    parser.add_argument(
        '--dynamic', choices=tuple(DYNAMIC), help='what the file takes other than --batch and --shape (onnx, exported)'
    )
    parser.add_argument(
        '--as-trained', action='store_true', help='fold nothing: every layer of the model is in the file'
    )
    parser.add_argument(
        '--end-to-end',
        action='store_true',
        help='from photographs to boxes or a segmentation (onnx); --shape is what they are made to fit on',
    )
    parser.add_argument(
        '--dtype', choices=DTYPES, default='float32', help='of weights (onnx, openvino); default: float32'
    )
    parser.add_argument(
        '--calibration-images',
        type=int,
        metavar='N',
        help=f'training images on which --dtype int8 finds ranges; default: {USUAL}, or all',
    )
    parser.add_argument(
        '--keep-float',
        nargs='*',
        choices=GROUPS,
        metavar='GROUP',
        help=f'what --dtype int8 leaves in float32, of {", ".join(GROUPS)}; default: {" ".join(KEPT)}',
    )
    args = parser.parse_args(argv)
    for name in ('calibration_images', 'keep_float'):
        if vars(args)[name] is not None and args.dtype != 'int8':
            parser.error(f'--{name.replace("_", "-")}: allowed with --dtype int8')
    if args.end_to_end and (args.format != 'onnx' or args.batch != 1 or args.dynamic not in (None, 'size')):
        parser.error('--end-to-end: allowed with --format onnx, --batch 1 and --dynamic size')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Build, load and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        resolution = export_config(
            cfg,
            args.config,
            args.checkpoint,
            args.out,
            args.format,
            shape=args.shape,
            is_other_allowed=args.other_shape,
            batch=args.batch,
            dynamic=args.dynamic,
            is_folded=not args.as_trained,
            is_end_to_end=args.end_to_end,
            dtype=args.dtype,
            num_calibration_images=args.calibration_images,
            kept=KEPT if args.keep_float is None else args.keep_float,
        )
    print(f'{args.out}: {args.format}, images of {resolution}')
