"""Measure how far the supernet's ranking of networks can be trusted.

    mmhybrid audit-ranking CONFIG --checkpoint SUPERNET.pth --work-dir SEARCH_WORK_DIR
        [--count 12] [--epochs N] [--from-scratch] [--recipe CONFIG] [--json FILE]

Networks from the whole range of scores that the search of CONFIG found are trained under the same conditions:
fine-tuned from the supernet's weights or trained from scratch, with the data and schedule of CONFIG or of ``--recipe``.
The command then reports Kendall's tau between the scores in the supernet and those after training, with its 95 %
interval (bootstrap over the networks), and the regret of retraining only the ``--top`` best networks of the supernet.
Scores are from the validation images of the config that was used for training. After an interruption, the same command
continues.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

from mmhybrid.apis.retraining_record import Retrained
from mmhybrid.commands.shared.arguments import Parser
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.retraining import add_retraining_arguments, retraining_of, search_of
from mmhybrid.engine.ranks import together
from mmhybrid.search.audit import Audit, audit, stratified
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.files import check_target, write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Train, compare, print and write the figures."""
    parser = Parser(description=(__doc__ or '').splitlines()[0])
    add_retraining_arguments(parser, count=12, out='audit')
    parser.add_argument(
        '--epochs', type=int, metavar='N', help="number of epochs of each training; default: the config's"
    )
    parser.add_argument('--from-scratch', action='store_true', help='start from random weights')
    parser.add_argument(
        '--top', type=int, default=3, metavar='K', help='number of best networks that one would retrain; default: 3'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the choice of networks; default: 0')
    parser.add_argument('--json', metavar='FILE', help='where to write the figures')
    args = parser.parse_args(argv)
    with ending_on_mistakes() as phase:
        found = search_of(args)
        check_int('--count', args.count, 2)
        check_int('--top', args.top, 1, args.count)
        start = 'scratch' if args.from_scratch else 'weights'
        retraining = retraining_of(args, found.settings, start, args.epochs)
        objective = retraining.objective
        chosen = stratified(found.top(), objective, args.count, random.Random(args.seed))
        if args.json is not None:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            check_target(args.json)
        with together(retraining.cfg):
            networks = retraining.run(chosen, phase)
    scores = [network.supernet_score for network in networks], [network.retrained_score for network in networks]
    figures = audit(*scores, objective, args.top)
    if is_main_process():
        tell(networks, figures, objective.name)
        if args.json is not None:
            described = [network.described() for network in networks]
            budget = {'metric': objective.name, 'start': start, 'epochs': args.epochs}
            write_json(args.json, {**budget, **asdict(figures), 'networks': described})
            print(f'written: {args.json}')


def tell(networks: Sequence[Retrained], figures: Audit, metric: str) -> None:
    """Print the scores, the figures, and a warning if the ranking cannot be trusted."""
    table = Table('network', 'in the supernet', 'retrained', title=metric)
    for network in networks:
        table.add_row(network.name, f'{network.supernet_score:.6g}', f'{network.retrained_score:.6g}')
    Console().print(table)
    interval = f'95 %: {figures.kendall_tau_low:.2f} to {figures.kendall_tau_high:.2f}'
    print(f'Kendall tau: {figures.kendall_tau:.2f} ({interval})')
    print(f'regret of retraining the best {figures.top} only: {figures.regret:.6g}')
    if figures.warning():
        print(f'warning: {figures.warning()}')
