"""Make label maps for token labelling with a trained mmpretrain classifier.

    mmhybrid make-label-maps CONFIG CHECKPOINT data/imagenet/train data/imagenet/label_maps
        [--cfg-options KEY=VALUE ...]

A teacher is any classifier whose backbone ends in a feature map, and whose neck and head take only that map: ResNet,
Swin, EfficientNet, RegNet and most others. ConvNeXt needs ``--cfg-options model.backbone.gap_before_final_norm=False``,
a vision transformer ``--cfg-options model.backbone.out_type=featmap``. HRNet cannot be a teacher, since its neck joins
several maps.

Images that have a label map already are skipped, so an interrupted run continues.
"""

from argparse import ArgumentDefaultsHelpFormatter, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.datasets.label_map_maker import make_label_maps
from mmhybrid.models.teachers import Teacher
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description=(__doc__ or '').splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    add_config(parser, "the teacher's config file")
    parser.add_argument('checkpoint', help="the teacher's weights")
    parser.add_argument('images', type=Path, help='folder with one folder of images for each class')
    parser.add_argument('out', type=Path, help='folder of the label maps')
    parser.add_argument(
        '--size',
        type=int,
        default=224,
        metavar='N',
        help='height and width of the images that the teacher gets, in pixels',
    )
    parser.add_argument(
        '--num-kept', type=int, default=5, metavar='K', help='number of classes to keep at each position'
    )
    parser.add_argument('--batch-size', type=int, default=32, metavar='N', help='batch size')
    parser.add_argument('--device', default='cpu', help='device of the teacher, such as cuda:0')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the teacher and write the label maps."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        classifier = Teacher(args.checkpoint, config=cfg).model
        try:
            classifier = classifier.to(args.device)
        except (RuntimeError, AssertionError) as error:
            raise bad_value('--device', args.device, f'a device that torch finds ({first_line(error)})') from error
        files = make_label_maps(classifier, args.images, args.out, args.size, args.batch_size, args.num_kept)
        count = sum(1 for _ in files)
    print(f'{args.out}: {count} label maps')
