"""Arguments of the commands that train networks of a search by themselves."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.retraining import Retraining
from mmhybrid.apis.search_results import read_search
from mmhybrid.commands.shared.arguments import add_config, add_launcher
from mmhybrid.commands.shared.storage import add_storage
from mmhybrid.search import SearchResult, SearchSettings
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.files import check_stays_within


def add_retraining_arguments(parser: ArgumentParser, count: int, out: str, needs_checkpoint: bool = True) -> None:
    """Add the arguments of every command that retrains networks of a search.

    Args:
        parser: Parser of the command.
        count: Default of ``--count``.
        out: Name of the default folder of results, in the work directory of the search.
        needs_checkpoint: Whether ``--checkpoint`` is required.
    """
    add_config(parser, 'config of the search or of the supernet')
    parser.add_argument('--checkpoint', required=needs_checkpoint, help='weights of the supernet')
    parser.add_argument('--work-dir', required=True, metavar='DIR', help='work directory of the search')
    add_storage(parser)
    parser.add_argument('--count', type=int, default=count, metavar='N', help=f'number of networks; default: {count}')
    parser.add_argument(
        '--recipe', metavar='CONFIG', help="config to train with; default: the supernet's data and schedule"
    )
    parser.add_argument('--out-dir', metavar='DIR', help=f'folder of the networks and results; default: WORK_DIR/{out}')
    add_launcher(parser)
    parser.set_defaults(out_name=out)


def search_of(args: Namespace) -> SearchResult:
    """Return the result of the search that the command line names.

    Raises:
        SearchError: If there is no search, or it is damaged.
        ValueError: If the work directory does not exist, or ``--count`` exceeds the number of evaluated networks.
    """
    result = read_search(args.work_dir, args.storage, args.study_name)
    check_int('--count', args.count, 1, len(result.top()))
    return result


def retraining_of(
    args: Namespace, search: SearchSettings, start: str = 'config', epochs: int | None = None
) -> Retraining:
    """Return the :class:`Retraining` that the command line describes."""
    cfg = load_config(args.config, args.cfg_options, launcher=args.launcher)
    folder = args.out_dir or Path(args.work_dir, args.out_name)
    if not args.out_dir:
        check_stays_within(folder, args.work_dir)
    return Retraining(cfg, args.checkpoint, search, folder, args.recipe, start, epochs)
