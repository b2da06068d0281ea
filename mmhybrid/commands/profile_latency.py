"""Measure the latency table of a search space on this device.

    mmhybrid profile-latency CONFIG --out table.json [--device cuda] [--backend compile] [--threads 1] ...

CONFIG has a model with a supernet. Interrupted, the same command continues from ``table.json.partial``. Every
resolution of the space is measured; leave some out with ``--resolutions``. ``--analytic`` measures only what the device
reaches with eager torch, in seconds, and writes the analytic model; a search takes it in place of a table, or to fill a
table's gaps.
"""

from argparse import Namespace
from collections.abc import Sequence
from statistics import median

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.device import add_device, device_of
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.calibration import calibrate
from mmhybrid.latency.profile import profile
from mmhybrid.latency.timing import Plan


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    default = Plan()
    parser = Parser(description='Measure the latency table of a search space on this device.')
    add_config(parser, 'config file with a supernet')
    parser.add_argument('--out', required=True, metavar='FILE', help='where to write the table or model')
    parser.add_argument('--analytic', action='store_true', help='write the analytic model, without measuring networks')
    add_device(parser, 'the config imports')
    parser.add_argument(
        '--input-size', type=int, default=224, metavar='N', help='where archs do not say it; default: 224'
    )
    parser.add_argument('--resolutions', type=int, nargs='+', metavar='N', help='of those in the space; default: all')
    parser.add_argument(
        '--networks', type=int, default=default.networks, metavar='N', help='measured at each resolution'
    )
    parser.add_argument('--repeats', type=int, default=default.repeats, metavar='N', help='timed rounds')
    parser.add_argument('--warmup', type=int, default=default.warmup, metavar='N', help='rounds before them')
    parser.add_argument('--seed', type=int, default=default.seed)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        workload = Workload.of_model(cfg.get('model', {}), args.input_size)
        if args.resolutions is not None:
            workload = workload.restrict({'resolution': args.resolutions})
        device = device_of(args)
        if args.analytic:
            calibrate(device, workload).save(args.out)
            print(f'{args.out}: the analytic model of {device.name}, eager')
            return
        plan = Plan(args.networks, args.repeats, args.warmup, args.seed)
        table = profile(workload, device, plan, args.out)
    found = f'{len(table.entries)} parts from {len(table.measurements)} networks'
    print(f'{args.out}: {found}, which deviate by {100 * table.uncertainty.residual:.1f} % from the sum of their parts')
    print(f'{median(network.ms for network in table.measurements):.3g} ms: half of the networks are faster')
