"""Measure the latency of one network, and predict it from a latency table.

    mmhybrid measure CONFIG [--shape H W] [--backend onnxruntime] [--device cpu] [--threads 1] ...
    mmhybrid measure ARCH.json --table table.json
    mmhybrid measure CONFIG --table table.json --arch ARCH.json

CONFIG describes any model with a backbone, for example an exported one. It is measured on this device, in its deployed
form and with random weights. ARCH.json is a result of a search (``best_arch.json``, ``topk.csv:RANK``). Its network is
built and measured as those of the table were, and predicted with a 90 % prediction interval. With a table, the backend
and all other settings are the table's.
"""

from argparse import Namespace
from collections.abc import Sequence

from mmengine.model import BaseModel
from torch import nn

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export import TensorModel
from mmhybrid.apis.export_metadata import shape_for
from mmhybrid.apis.taking_out import found_in
from mmhybrid.commands.shared.arguments import Parser, add_cfg_options, add_imports, import_modules
from mmhybrid.commands.shared.device import NAMES, add_device, device_of
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.latency.single import predict_arch, time_arch, time_network
from mmhybrid.latency.table import LatencyTable
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.build import build_model
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.utils.files import write_json


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Measure the latency of one network, and predict it from a latency table.')
    parser.add_argument('network', help='a config, or the genes of a network: best_arch.json, topk.csv:RANK')
    parser.add_argument('--table', metavar='FILE', help='latency table, whose device and settings are used')
    parser.add_argument('--arch', metavar='FILE', help="genes of the config's network, for the prediction")
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help="height and width of the images; default: the config's"
    )
    add_device(parser, '--import enters')
    parser.add_argument('--repeats', type=int, default=20, metavar='N', help='number of timed rounds; default: 20')
    parser.add_argument('--json', metavar='FILE', help='where to write the figures')
    add_imports(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    given = [name for name in NAMES if vars(args)[name] is not None]
    if args.table is not None and given:
        parser.error(f'--{given[0]}: not allowed with --table, which sets it')
    if args.table is None and (is_arch(args.network) or args.arch is not None):
        parser.error('--table: required with the genes of a network')
    return args


def is_arch(network: str) -> bool:
    """Return whether a network is given by its genes."""
    return network.endswith(('.json', '.csv')) or '.csv:' in network


def build(args: Namespace) -> tuple[nn.Module, tuple[int, int]]:
    """Return the network of a config in its deployed form, and the height and width of its images."""
    cfg = load_config(args.network, args.cfg_options)
    model = build_model(cfg).eval()
    if any(isinstance(module, HybridBackbone) for module in model.modules()):
        switch_to_deploy(model)
    network = TensorModel(model) if isinstance(model, BaseModel) else model
    return network, shape_for(cfg, None, args.shape, is_other_allowed=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, predict and print."""
    args = parse_args(argv)
    with ending_on_mistakes():
        import_modules(args.imports)
        if args.table is None:
            device, table = device_of(args), None
        else:
            table = LatencyTable.load(args.table)
            table.warn_if_elsewhere()
            device = table.device
        genes = args.network if is_arch(args.network) else args.arch
        arch = None if table is None or genes is None else found_in(table.build_workload().space, genes).arch
        predicted = None if table is None or arch is None else predict_arch(arch, table)
        if table is not None and arch is not None and is_arch(args.network):
            measured = time_arch(arch, table, args.repeats)
        else:
            measured = time_network(*build(args), device, args.repeats)
        print(f'{device.backend} on {device.name}, {device.dtype}, batch {device.batch}, threads {device.threads}')
        print(f'measured: {measured}')
        if predicted is not None:
            print(f'predicted: {predicted}')
        if args.json is not None:
            figures = {'measured': vars(measured), 'predicted': None if predicted is None else vars(predicted)}
            write_json(args.json, {**figures, 'device': vars(device)})
