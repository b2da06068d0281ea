"""Images per second of the presets beside timm's networks, in one process.

    python benchmarks/throughput.py [--device cuda --dtype float16] [--models GLNet-4g swin_tiny...] [--json FILE]

All are classifiers with 1000 classes, in inference mode, each at its own input size; every round runs each of them
once. The ratio to Swin-T is the median over the rounds.
"""

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

import torch
from _common import (
    Figures,
    add_json_argument,
    describe_machine,
    median_ratio,
    positive,
    require,
    synchronizer,
    time_interleaved,
)
from rich.console import Console
from rich.table import Table
from torch import nn

from mmhybrid.utils.files import write_json

presets = require('mmhybrid.estimation.presets')  # first: mmhybrid declares operators that torchvision may lack

REFERENCE = 'swin_tiny_patch4_window7_224'
TIMM_SIZES = {
    REFERENCE: 224,
    'convnext_tiny': 224,
    'deit_tiny_patch16_224': 224,
    'deit_small_patch16_224': 224,
    'mobilevit_xxs': 256,
    'mobilevit_xs': 256,
    'mobilevit_s': 256,
}
OURS = {f'{preset.family}-{preset.arch}': preset for preset in presets.PRESETS}
SIZES = TIMM_SIZES | {name: preset.image_size for name, preset in OURS.items()}
LAYOUTS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16')}


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(description="Images per second of the presets beside timm's networks.")
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument('--batch', type=positive, default=8, metavar='N', help='images at once; default: 8')
    parser.add_argument('--threads', type=positive, metavar='N', help="CPU threads; default: torch's")
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='timed rounds; default: 10')
    parser.add_argument('--layouts', nargs='+', choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument(
        '--models', nargs='+', choices=SIZES, default=list(SIZES), metavar='NAME', help=', '.join(SIZES)
    )
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: got cuda, which this torch does not find')
    return args


def build(name: str) -> nn.Module:
    """A classifier, weights at random, in eval mode."""
    return presets.build_classifier(OURS[name]) if name in OURS else require('timm').create_model(name).eval()


def make_job(model: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """One forward pass."""

    @torch.inference_mode()
    def job() -> object:
        return model(images)

    return job


def measure(args: Namespace) -> Figures:
    """Images per second of all models and layouts, and the ratios to the reference in the same layout."""
    figures: Figures = {}
    models = {name: build(name).to(args.device, DTYPES[args.dtype]) for name in args.models}
    for layout in args.layouts:
        placing = {'device': args.device, 'dtype': DTYPES[args.dtype], 'memory_format': LAYOUTS[layout]}
        jobs = {
            name: make_job(model.to(**placing), torch.randn(args.batch, 3, SIZES[name], SIZES[name]).to(**placing))
            for name, model in models.items()
        }
        seconds = time_interleaved(jobs, args.repeats, synchronizer(args.device))
        for name, times in seconds.items():
            figures[f'{name}.{layout}.images_per_s'] = args.batch / statistics.median(times)
            if REFERENCE in seconds:
                figures[f'{name}.{layout}.ratio_to_swin_t'] = median_ratio(seconds[REFERENCE], times)
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each model, two columns for each layout."""
    table = Table(title=f'batch {args.batch}, {args.dtype}, {args.device}, {torch.get_num_threads()} threads')
    table.add_column('model')
    table.add_column('input', justify='right')
    for layout in args.layouts:
        table.add_column(f'{layout}\nimages/s', justify='right')
        table.add_column('ratio to\nSwin-T', justify='right')
    for name in args.models:
        cells = [
            figures.get(f'{name}.{layout}.{kind}')
            for layout in args.layouts
            for kind in ('images_per_s', 'ratio_to_swin_t')
        ]
        table.add_row(name, str(SIZES[name]), *('-' if cell is None else f'{cell:.2f}' for cell in cells))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    timm = require('timm')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    machine = describe_machine(args.device)
    figures = measure(args)
    Console(width=100).print(make_table(args, figures))
    if args.json is not None:
        setting = {'setting.batch': args.batch, 'setting.dtype': args.dtype, 'setting.repeats': args.repeats}
        write_json(args.json, {**figures, **setting, **machine, 'machine.timm': timm.__version__})


if __name__ == '__main__':
    main()
