"""Export the network of a config in a format that other programs run.

    mmhybrid export CONFIG --out FILE --format onnx|openvino|executorch|coreml|torchscript|exported [--checkpoint FILE]
        [--shape H W] [--dynamic batch|size|both] [--end-to-end] [--as-trained]
        [--dtype float32|float16|int8] [--calibration-images N] [--keep-float GROUP ...]

The file takes normalised images of one shape or, with ``--dynamic``, of any batch size or of any height and width. It
returns the output of the model's heads (the logits of a classifier). Norms and other foldable layers are folded into
the layers beside them, which does not change the output; ``--as-trained`` keeps every layer. The images have the size
for which the network was made, and a searched network keeps its size; ``--other-shape`` allows another. With
``--end-to-end``, the ONNX file of a one-stage detector or of a segmentor takes photographs and returns boxes, or a
class for each pixel (docs/deployment.md). With ``--dtype int8``, layers with weights are quantised (onnx, openvino) by
the activation ranges of random training images; ``float16`` halves the size of the weights.

ONNX, OpenVINO, ExecuTorch and Core ML files hold metadata: resolution, normalisation, class names and origin.
``openvino`` writes an ``.xml`` with a ``.bin`` beside it. ``executorch`` writes a ``.pte`` (for XNNPACK) with the
metadata in a ``.json`` beside it. ``coreml`` writes a ``.mlpackage`` (a folder). Each needs its package. ``exported``
is the ``.pt2`` of torch.export.
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
    """Parse the command line."""
    parser = Parser(description='Write the network of a config in a format that other programs run.')
    add_config(parser)
    parser.add_argument('--out', required=True, metavar='FILE')
    parser.add_argument('--format', required=True, choices=tuple(FORMATS))
    parser.add_argument('--checkpoint', metavar='FILE', help='weights; default: random weights')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help="height and width of the images; default: the config's"
    )
    parser.add_argument('--other-shape', action='store_true', help='allow a --shape that is not the one of the config')
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='batch size; default: 1')
    parser.add_argument(
        '--dynamic',
        choices=tuple(DYNAMIC),
        help='sizes that may differ from --batch and --shape when the file runs (onnx, exported)',
    )
    parser.add_argument(
        '--as-trained', action='store_true', help='fold nothing: every layer of the model is in the file'
    )
    parser.add_argument(
        '--end-to-end',
        action='store_true',
        help='take photographs and return boxes or a segmentation (onnx); photographs are fitted into --shape',
    )
    parser.add_argument(
        '--dtype', choices=DTYPES, default='float32', help='data type of the weights (onnx, openvino); default: float32'
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
    """Build the network, load its weights and write the file."""
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
