"""Show what a search found, as one HTML page that opens anywhere.

    mmhybrid report WORK_DIR [--storage URL] [--study-name NAME] [--config CONFIG] [--intervals FILE]
        [--list | --best] [--out FILE]

The page comes from the storage, which is only read: the search may be finished, stopped or running. Beside the front,
the page shows those presets of the family that the search evaluated. With the config of the search (``--config``), it
shows all presets with their costs, and the network that the supernet started as. With ``--intervals``, it shows the
confidence intervals of the front's scores. With ``--best``, the command instead writes the best_arch.json and topk.csv
of the networks found so far, as the search does at its end.
"""

from collections.abc import Sequence
from pathlib import Path

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.known_costs import known_networks_of
from mmhybrid.apis.search_results import read_search
from mmhybrid.commands.shared.arguments import Parser, add_cfg_options, add_imports, check_cfg_options, import_modules
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.storage import add_storage
from mmhybrid.search import SearchError, list_studies
from mmhybrid.search.intervals import FrontIntervals
from mmhybrid.search.storage import FILE_NAME
from mmhybrid.utils.errors import printable, shortened
from mmhybrid.utils.files import drop_link_outward, write_whole
from mmhybrid.visualization.search_page import search_page


def main(argv: Sequence[str] | None = None) -> None:
    """Read the storage and write the page."""
    parser = Parser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('work_dir', help='work directory of the search')
    add_storage(parser)
    parser.add_argument(
        '--config', metavar='CONFIG', help='config of the search, to show the costs of its starting network and presets'
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--intervals', metavar='FILE', help='intervals.json of mmhybrid export-subnet --front --intervals'
    )
    parser.add_argument('--list', action='store_true', help='list the searches in the storage, and exit')
    parser.add_argument('--best', action='store_true', help='write best_arch.json and topk.csv instead of the page')
    parser.add_argument('--out', metavar='FILE', help='the page; default: WORK_DIR/report.html')
    parser.add_argument('--top', type=int, default=10, metavar='K', help='number of rows of the table; default: 10')
    add_imports(parser)
    args = parser.parse_args(argv)
    check_cfg_options(parser, args)
    folder = Path(args.work_dir)
    out = Path(args.out or folder / 'report.html')
    with ending_on_mistakes():
        import_modules(args.imports)
        cfg = None if args.config is None else load_config(args.config, args.cfg_options)
        intervals = None if args.intervals is None else FrontIntervals.read(args.intervals)
        if not folder.is_dir():
            raise ValueError(f'work directory {folder} does not exist')
        try:
            storage = args.storage or folder / FILE_NAME
            if args.list:
                for name, count in list_studies(storage).items():
                    print(f'{printable(shortened(name))}: {count} evaluated')
                return
            result = read_search(folder, storage, args.study_name)
            if args.best:
                for path in result.write(folder, args.top):
                    print(f'written: {path}')
                return
            known = known_networks_of(result, cfg)
            page = search_page(result, folder.resolve().name, args.top, known, intervals)
        except SearchError as error:  # nothing is being searched, so the mistake is in the argument
            raise ValueError(f'{error}') from error
        if args.out is None:
            drop_link_outward(out)
        write_whole(out, page.encode())
    print(f'written: {out}')
