"""Compute the outputs of a config's teacher for all views of its training images, and keep them in files.

    mmhybrid keep-teacher my_features.py

The folder is ``model.teacher.kept`` of the config. Outputs that exist already are kept as long as their images have not
changed. An interrupted run therefore continues, and a run after some images changed computes only theirs.
"""

from argparse import ArgumentDefaultsHelpFormatter, Namespace
from collections.abc import Sequence

from rich.progress import track

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.keeping import KeptTeacher
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description=(__doc__ or '').splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    add_config(parser, 'config file of the training')
    parser.add_argument('--device', default='cpu', help='device of the teacher, such as cuda:0')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Compute and write the missing outputs."""
    args = parse_args(argv)
    with ending_on_mistakes():
        kept = KeptTeacher(load_config(args.config, args.cfg_options), args.device)
        computed = sum(track(kept.run(), 'files', total=kept.plan.num_files))
    print(f'{kept.folder}: {kept.plan.rows} outputs of shape {tuple(kept.plan.shape)}, {computed} of them new')
