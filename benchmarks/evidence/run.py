"""Studies of the papers' orderings at small scale: several networks, several seeds, intervals, and a verdict.

    python benchmarks/evidence/run.py [ROW ...] [--seeds N] [--data DIR] [--dir OUT] [--device cpu|cuda] [--record]

A row (``rows.py``) is a claim and the networks with which it is tried; by default, all rows run. Each study begins with
a pilot. The standard deviation of its differences decides the number of seeds, which is written down; the study uses
other seeds than the pilot. A seed determines the initial weights, the order of the images and which images are held
out. All networks of a row use the same seeds, so that differences are paired. After a kill, the same command continues
where it was, also inside a training. OUT has the runs and a JSON file for each row; ``--record`` writes finished
studies to docs/evidence and their table to docs/results.md. ``--rerun SEED`` trains each network with one seed and
prints its score beside the recorded one. Rows on segmentation also need CamVid (``--camvid``).
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _common import positive, require

require('mmpretrain')
require('scipy')
import torch  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402

from evidence.page import PAGE, RESULTS, read_studies, render, write_page  # noqa: E402
from evidence.rows import ELSEWHERE, ROWS  # noqa: E402
from evidence.runs import Place, num_cores  # noqa: E402
from evidence.study import Study  # noqa: E402
from mmhybrid.commands.shared.arguments import Parser, add_cfg_options  # noqa: E402
from mmhybrid.commands.shared.mistakes import ending_on_mistakes  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    names = [row.name for row in ROWS]
    parser = Parser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('rows', nargs='*', metavar='ROW', help=f'rows to run; default: all of {", ".join(names)}')
    parser.add_argument('--seeds', type=positive, default=12, metavar='N', help='maximum number of seeds; default: 12')
    parser.add_argument('--pilot', type=positive, default=3, metavar='N', help='number of pilot seeds; default: 3')
    parser.add_argument('--data', type=Path, default=Path('data/imagenette'), help='images; default: data/imagenette')
    parser.add_argument('--camvid', type=Path, default=Path('data/camvid'), help='frames; default: data/camvid')
    parser.add_argument(
        '--dir',
        type=Path,
        default=Path('work_dirs/evidence'),
        help='folder of the runs, where they continue; default: work_dirs/evidence',
    )
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: cuda where there is a GPU')
    parser.add_argument(
        '--jobs', type=positive, metavar='N', help='number of simultaneous runs; default: one a core, 4 on cuda'
    )
    parser.add_argument('--rerun', type=int, metavar='SEED', help='train with this seed alone and compare scores')
    parser.add_argument('--table', action='store_true', help='run nothing and write the table of the recorded studies')
    parser.add_argument('--record', action='store_true', help='write figures and table to docs')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in args.rows:
        if name not in names:
            parser.error(f'ROW: got {name}, allowed: {", ".join(names)}')
    for name in ('seeds', 'pilot'):
        if getattr(args, name) < 2:
            parser.error(f'--{name}: got {getattr(args, name)}, allowed: an int >= 2, for a spread')
    if args.rerun is not None and args.rerun < 0:
        parser.error(f'--rerun: got {args.rerun}, allowed: an int >= 0')
    if args.record and args.cfg_options:
        parser.error(
            '--record: allowed without --cfg-options alone, for what is recorded is the study as it is shipped'
        )
    return args


def place_of(args: Namespace) -> Place:
    """Where and on which device the runs take place."""
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    jobs = args.jobs or (num_cores() if device == 'cpu' else 4)
    return Place(args.data.resolve(), args.dir.resolve(), args.camvid.resolve(), device, jobs, args.cfg_options)


def compare(study: Study, seed: int) -> None:
    """Run one seed, and print its scores beside the recorded ones."""
    recorded = read_studies(RESULTS).get(study.row.name, {}).get('scores', {})
    for name, score in study.rerun(seed).items():
        known = recorded.get(name, [])
        told = f'{known[seed]:.2f}' if 0 <= seed < len(known) else 'none'
        print(f'{study.row.name}, {name}, seed {seed}: {score:.2f}, recorded: {told}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run studies, and print their tables."""
    args = parse_args(argv)
    if args.table:
        write_page(ROWS, RESULTS, PAGE, ELSEWHERE)
        return
    place = place_of(args)
    MMLogger.get_instance('evidence', log_level='WARNING')  # networks that are built to be counted would log
    with ending_on_mistakes():
        for row in ROWS:
            if args.rows and row.name not in args.rows:
                continue
            study = Study(row, place, args.pilot, args.seeds)
            if args.rerun is not None:
                compare(study, args.rerun)
                continue
            content = study.run()
            print(render([row], {row.name: content}))
            if args.record:
                RESULTS.mkdir(exist_ok=True)
                write_json(RESULTS / f'{row.name}.json', content)
                write_page(ROWS, RESULTS, PAGE, ELSEWHERE)


if __name__ == '__main__':
    main()
