"""Search over a trained supernet.

mmhybrid search configs/demo/autovit_search.py --checkpoint work_dirs/autovit_supernet/epoch_16.pth
"""

import sys

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.searching import search
from mmhybrid.commands.shared.arguments import Parser, add_config, add_launcher
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.storage import add_storage
from mmhybrid.engine.ranks import together

# Exit code of a search that evaluated far fewer networks than its budget; its results are written all the same.
SHORT = 3


def main(argv: list[str] | None = None) -> None:
    """Run the search that the config describes."""
    parser = Parser(description=(__doc__ or '').splitlines()[0])
    add_config(parser, 'config file with a search')
    parser.add_argument('--checkpoint', required=True, help='weights of the supernet')
    parser.add_argument('--work-dir', help='folder of the search and its results')
    parser.add_argument('--resume', action='store_true', help='continue the search in the work directory or storage')
    add_storage(parser, study_name=None)
    parser.add_argument(
        '--shared', action='store_true', help='share the storage with other processes that search at the same time'
    )
    add_launcher(parser)
    args = parser.parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        with together(cfg):
            result = search(cfg, args.checkpoint, args.resume, args.storage, args.shared, args.study_name)
    if result.shortfall:
        print(result.shortfall, file=sys.stderr)
        raise SystemExit(SHORT)
