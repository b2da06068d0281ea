"""Measure the latency table of a search space, on this device or on another.

    mmhybrid profile-latency CONFIG --out table.json [--device cuda] [--backend compile] [--threads 1] ...

CONFIG has a model with a supernet. For a detector or segmentor, whole models are measured, from the images to the
output of the heads. After an interruption, the same command continues from ``table.json.partial``. All resolutions of
the space are measured unless ``--resolutions`` selects some. ``--analytic`` takes seconds: it measures only the
throughput of the device in eager torch, and writes an analytic model, which a search takes in place of a table or for
the parts that a table lacks. ``--fit`` measures a dozen networks with any backend, and writes a model with the same
uses.

    mmhybrid profile-latency CONFIG --bundle DIR --backend onnxruntime
    mmhybrid profile-latency CONFIG --timings timings.json --out table.json

``--bundle`` writes the networks for another machine together with ``measure.py``, which needs only the runtime. Copy
the folder there, run the program, and bring back ``timings.json``, from which ``--timings`` makes the table.

    mmhybrid profile-latency CONFIG --remote pi@raspberry --out table.json --backend onnxruntime

``--remote`` does all of that over ssh, or over adb for ``adb`` and ``adb:SERIAL``. After an interruption, the same
command continues.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from statistics import median
from typing import Any

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.device import NAMES, add_device, device_elsewhere, device_of
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.bundle import SCRIPT, read_timings, write_bundle
from mmhybrid.latency.calibration import calibrate
from mmhybrid.latency.fitted import FEW, profile_few
from mmhybrid.latency.held_out import predict, prediction_errors, recorded
from mmhybrid.latency.on_device import TIMINGS
from mmhybrid.latency.profile import profile
from mmhybrid.latency.remote import Remote, measure_remotely
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import MAX_PARAMS_IN_MEMORY, Plan
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import check_target

PLAN = tuple(field.name for field in fields(Plan))

DEFAULT_SIZE = 224


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    default = Plan()
    parser = Parser(description='Measure the latency table of a search space on a device.')
    add_config(parser, 'config file with a supernet')
    parser.add_argument('--out', metavar='FILE', help='where to write the table or model')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--analytic', action='store_true', help='write the analytic model, without measuring networks')
    what.add_argument('--fit', action='store_true', help='write an analytic model fitted to a few measured networks')
    what.add_argument(
        '--bundle', metavar='DIR', help='write the networks for another machine, and the program that times them there'
    )
    what.add_argument('--timings', metavar='FILE', help='make the table from the timings that a bundle wrote there')
    what.add_argument('--remote', metavar='HOST', help='measure there: [USER@]HOST[:PORT] by ssh, adb or adb:SERIAL')
    parser.add_argument(
        '--remote-python', metavar='PROGRAM', help='program that runs Python on --remote; default: python3'
    )
    parser.add_argument(
        '--pause', type=float, metavar='SECONDS', help='pause before each round on --remote, in which it cools down'
    )
    add_device(parser, 'the config imports')
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        '--input-size',
        type=int,
        metavar='N',
        help=f"side of the images if the genes do not say it; default: the search's, or {DEFAULT_SIZE}",
    )
    size.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help='height and width of images that are not square'
    )
    parser.add_argument(
        '--resolutions', type=int, nargs='+', metavar='N', help='resolutions of the space to measure; default: all'
    )
    for name, help_text in (
        ('networks', f'number of networks of each resolution; default: {default.networks}; with --fit, {FEW} in all'),
        ('repeats', f'number of timed rounds; default: {default.repeats}'),
        ('warmup', f'number of rounds before them that do not count; default: {default.warmup}'),
        ('held-out', 'number of random held-out networks of each resolution, to evaluate the table; default: 0'),
        ('held-params', f'number of parameters of all networks in memory at once; default: {MAX_PARAMS_IN_MEMORY}'),
    ):
        parser.add_argument(f'--{name}', type=int, metavar='N', help=help_text)
    parser.add_argument('--seed', type=int, help=f'seed of the choice of networks; default: {default.seed}')
    args = parser.parse_args(argv)
    if args.remote is None and (args.remote_python is not None or args.pause is not None):
        parser.error('--remote-python and --pause are for --remote HOST')
    if args.held_out and (args.fit or args.analytic):
        parser.error(
            '--held-out: not allowed with --fit and --analytic, since it evaluates a table; --fit reports its own error'
        )
    if (args.out is None) != (args.bundle is not None):
        parser.error('--out FILE is required, except with --bundle DIR, which does not allow it')
    return args


def plan_of(args: Namespace) -> Plan:
    """Return the plan that the command line describes."""
    given: dict[str, Any] = {name: vars(args)[name] for name in PLAN if vars(args)[name] is not None}
    return Plan(**({'networks': FEW} if args.fit else {}) | given)


def table_elsewhere(args: Namespace, workload: Workload) -> LatencyTable:
    """Make the table from the timings of a bundle, which hold their device and plan."""
    for name in (*NAMES, *PLAN):
        if vars(args)[name] is not None:
            raise bad_value(f'--{name.replace("_", "-")}', vars(args)[name], 'nothing, since the bundle sets it')
    check_target(args.out)
    table = read_timings(workload, args.timings)
    table.save(args.out)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        given = (args.shape, args.input_size, (cfg.get('search_cfg') or {}).get('input_size'))
        size = next((size for size in given if size is not None), None)
        workload = Workload.of_model(cfg.get('model', {}), size, cfg.get('default_scope'), DEFAULT_SIZE)
        if args.resolutions is not None:
            workload = workload.restrict({'resolution': args.resolutions})
        if args.bundle is not None:
            write_bundle(workload, device_elsewhere(args), plan_of(args), args.bundle)
            print(f'{args.bundle}: copy it to the device, run {SCRIPT} there, and bring back {TIMINGS}')
            return
        if args.analytic:
            device = device_of(args)
            calibrate(device, workload).save(args.out)
            print(f'{args.out}: the analytic model of {device.name}, eager')
            return
        if args.fit:
            check_target(args.out)
            model = profile_few(workload, device_of(args), plan_of(args))
            model.save(args.out)
            print(f'{args.out}: the model of {model.device.name} from {model.networks} networks')
            print(f'{100 * model.error:.1f} %: error of the model on networks that it was not fitted to')
            return
        if args.timings is not None:
            table = table_elsewhere(args, workload)
        elif args.remote is not None:
            remote, python = Remote.parse(args.remote), args.remote_python or 'python3'
            plan, device = plan_of(args), device_elsewhere(args)
            table = measure_remotely(workload, device, plan, remote, args.out, python, args.pause or 0.0, print)
        else:
            table = profile(workload, device_of(args), plan_of(args), args.out)
    found = f'{len(table.entries)} parts from {len(table.measurements)} networks'
    print(f'{args.out}: {found}, which deviate by {100 * table.uncertainty.residual:.1f} % from the sum of their parts')
    print(f'{100 * table.uncertainty.speed_spread:.1f} %: standard deviation of the speed of {table.device.name}')
    if len(table.held_out) > 1:
        beside = recorded(table)
        errors = prediction_errors(predict(Estimator(workload, table), beside.archs)[0], beside.milliseconds)
        print(f'{100 * errors["within_10pct"]:.0f} % of {len(table.held_out)} other networks are within 10 %', end=', ')
        print(f'by {100 * errors["mape"]:.1f} % on average; Kendall tau {errors["kendall_tau"]:.2f}')
    print(f'{median(network.ms for network in table.measurements):.3g} ms: half of the networks are faster')
