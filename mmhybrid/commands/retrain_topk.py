"""Retrain the best networks of a search, and keep the one that is best after training: the papers' last step.

    mmhybrid retrain-topk CONFIG --checkpoint SUPERNET.pth --work-dir SEARCH_WORK_DIR
        [--count 5] [--recipe CONFIG] [--out-dir DIR]
    mmhybrid retrain-topk CONFIG --random 5 --work-dir DIR [--recipe CONFIG] [--out-dir DIR]

CONFIG is the config of the search. Each network is trained in a folder of its own with CONFIG's data and schedule, or
with those of ``--recipe``, which gets its backbone. The last checkpoint of each is scored on the validation images of
the config that it was trained with: CONFIG's held-out images, or those of ``--recipe``. If these are the test set, as
in the ImageNet recipes, the best score is biased, since the network was selected on the test set.

``--random N`` is the baseline without supernet and search: N random networks of CONFIG's space that satisfy the
constraints of its search are trained from random weights.

After an interruption, the same command continues; networks in ``networks.json`` are not trained again. The command
writes ``best_retrained.json``.
"""

import math
from collections.abc import Sequence

from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.retraining import draw_random
from mmhybrid.apis.retraining_record import Retrained, best_of
from mmhybrid.commands.shared.arguments import Parser
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.retraining import add_retraining_arguments, retraining_of, search_of
from mmhybrid.engine.ranks import together
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import drop_link_outward, write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Retrain, print both scores of each network, and write the best one."""
    parser = Parser(description=(__doc__ or '').splitlines()[0])
    add_retraining_arguments(parser, count=5, out='retrained', needs_checkpoint=False)
    parser.add_argument('--random', type=int, metavar='N', help='retrain N random networks instead, without a search')
    args = parser.parse_args(argv)
    with ending_on_mistakes() as phase:
        if (args.random is None) == (args.checkpoint is None):
            raise bad_value(
                '--random', args.random, 'a number of networks, or else --checkpoint, the supernet searched in'
            )
        if args.random is None:
            found = search_of(args)
            settings, candidates = found.settings, found.top(args.count)
        else:
            settings, candidates = draw_random(load_config(args.config, args.cfg_options), args.random)
        retraining = retraining_of(args, settings)
        with together(retraining.cfg):
            networks = retraining.run(candidates, phase)
    best = best_of(networks, retraining.objective)
    if is_main_process():
        path = retraining.folder / 'best_retrained.json'
        space = settings.space.to_config()
        drop_link_outward(path)
        write_json(path, {'space': space, 'metric': retraining.objective.name, **best.described()})
        Console().print(table_of(networks, best, retraining.objective.name))
        print(f'written: {path}')


def table_of(networks: Sequence[Retrained], best: Retrained, metric: str) -> Table:
    """Return a table with the rank in the supernet and both scores of each network; the best is bold."""
    table = Table('rank', 'network', 'in the supernet', 'retrained', title=metric)
    for rank, network in enumerate(networks, start=1):
        before = '-' if math.isnan(network.supernet_score) else f'{network.supernet_score:.6g}'
        scores = (before, f'{network.retrained_score:.6g}')
        table.add_row(str(rank), network.name, *scores, style='bold' if network is best else None)
    return table
