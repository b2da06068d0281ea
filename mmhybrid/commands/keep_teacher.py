"""Compute the outputs of a config's teacher once, for all views of the images of its training, and keep them.

    mmhybrid keep-teacher my_features.py

The folder is ``model.teacher.kept`` of the config. Outputs that are there already, of images that are still the same,
are left as they are, so a run that was stopped goes on, and one after a change of images computes theirs alone.
"""

from argparse import ArgumentDefaultsHelpFormatter, Namespace
from collections.abc import Sequence

from rich.progress import track

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.keeping import KeptTeacher
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = Parser(description=(__doc__ or '').splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    add_config(parser, 'config file of the training')
    parser.add_argument('--device', default='cpu', help='such as cuda:0')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Compute and write what is missing."""
    args = parse_args(argv)
    with ending_on_mistakes():
        kept = KeptTeacher(load_config(args.config, args.cfg_options), args.device)
        computed = sum(track(kept.run(), 'files', total=kept.plan.num_files))
    print(f'{kept.folder}: {kept.plan.rows} outputs of shape {tuple(kept.plan.shape)}, {computed} of them new')
