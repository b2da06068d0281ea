"""Images per second of the presets, and of configs, beside timm's networks in the same process.

    python benchmarks/throughput.py [--device cuda --dtype float16 --compile] [--models GLNet-4g swin_tiny... CONFIG...]
        [--json FILE]

Presets and timm's networks are classifiers with 1000 classes, each at its own input size. A config is measured at the
size of its test pipeline, or at ``--shape``, from normalised images to the outputs of its heads. All run in inference
mode, once in every round. The ratio to Swin-T is the median over the rounds.
"""

import statistics
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

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

import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from torch import nn

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.build import build_model
from mmhybrid.models.input_channels import input_channels
from mmhybrid.utils.files import write_json

presets = require('mmhybrid.models.presets')  # first: mmhybrid declares operators that torchvision may lack

REFERENCE = 'swin_tiny_patch4_window7_224'
TIMM_SIZES = {
    REFERENCE: 224,
    'convnext_tiny': 224,
    'maxvit_tiny_tf_224': 224,
    'deit_tiny_patch16_224': 224,
    'deit_small_patch16_224': 224,
    'mobilevit_xxs': 256,
    'mobilevit_xs': 256,
    'mobilevit_s': 256,
}
OURS = {f'{preset.family}-{preset.arch}': preset for preset in presets.PUBLISHED}
SIZES = TIMM_SIZES | {name: preset.image_size for name, preset in OURS.items()}
LAYOUTS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}
# Modes of torch.compile; the second replays a recorded CUDA graph, without which batch 1 waits for the processor.
COMPILED = ('default', 'reduce-overhead')
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16')}


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description="Images per second of the presets, and of configs, beside timm's networks.")
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument(
        '--compile',
        nargs='?',
        const=COMPILED[0],
        choices=COMPILED,
        help='mode of torch.compile; without it, networks run in eager mode',
    )
    parser.add_argument('--batch', type=positive, default=8, metavar='N', help='batch size; default: 8')
    parser.add_argument('--threads', type=positive, metavar='N', help="number of CPU threads; default: torch's")
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='number of timed rounds; default: 10')
    parser.add_argument('--layouts', nargs='+', choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument(
        '--models',
        nargs='+',
        type=model_name,
        default=list(SIZES),
        metavar='NAME',
        help=f'config files, or any of: {", ".join(SIZES)}',
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help='image size of configs in pixels; default: that of their test pipeline',
    )
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: got cuda, which this torch does not find')
    return args


def model_name(text: str) -> str:
    """Parse the name of a network or of a config file from the command line."""
    if text not in SIZES and Path(text).suffix != '.py':
        raise ArgumentTypeError(f'got {text}, allowed: a config file (.py), or one of {", ".join(SIZES)}')
    return text


def label(name: str) -> str:
    """The name of a network in the figures: its own, or that of its config file."""
    return name if name in SIZES else Path(name).stem


@cache
def read_config(path: str) -> Config:
    """Read a config, which has to have a model."""
    cfg = load_config(path)
    if 'model' not in cfg:
        raise ValueError(f'config {path} has no model')
    if 'roi_head' in cfg.model:
        raise ValueError(
            f'config {path}: what a two-stage detector computes depends on its proposals, so it has no speed'
        )
    return cfg


def input_shape(name: str, shape: Sequence[int] | None) -> tuple[int, int]:
    """Height and width of the images of a network.

    Raises:
        ValueError: If neither the command line nor the config gives them.
    """
    if name in SIZES:
        return SIZES[name], SIZES[name]
    if shape is not None:
        return shape[0], shape[1]
    pipeline = read_config(name).get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    crops = [step.crop_size for step in pipeline if step.type == 'CenterCrop']
    sizes = crops or [step.scale for step in pipeline if step.type == 'Resize' and isinstance(step.scale, int)]
    if not sizes:
        raise ValueError(f'config {name}: its test pipeline crops to no size; give --shape H W')
    return sizes[-1], sizes[-1]


def build(name: str, size: int | None = None) -> nn.Module:
    """Build a network with random weights in eval mode, for images of its own size or of ``size``."""
    if name in OURS:
        model: nn.Module = presets.build_classifier(OURS[name])
    elif name in TIMM_SIZES:
        # timm's windows and position embeddings are made for a size
        is_other = size not in (None, TIMM_SIZES[name]) and name.startswith(('swin', 'deit', 'maxvit'))
        model = require('timm').create_model(name, **({'img_size': size} if is_other else {}))
    else:
        model = build_model(read_config(name))
    return model.eval()


def prepared(model: nn.Module, mode: str | None) -> Callable[[torch.Tensor], object]:
    """The network, compiled if there is a mode."""
    if mode is None:
        return model
    torch._dynamo.reset()  # forgets what was compiled for another layout
    compiled: Callable[[torch.Tensor], object] = torch.compile(model, mode=mode, dynamic=False)
    return compiled


def make_job(model: Callable[[torch.Tensor], object], images: torch.Tensor) -> Callable[[], object]:
    """One forward pass."""

    @torch.inference_mode()
    def job() -> object:
        return model(images)

    return job


def measure(args: Namespace) -> Figures:
    """Images per second of all networks and layouts, and their ratios to Swin-T in the same layout."""
    figures: Figures = {}
    models = {name: build(name).to(args.device, DTYPES[args.dtype]) for name in args.models}
    for layout in args.layouts:
        placing = {'device': args.device, 'dtype': DTYPES[args.dtype], 'memory_format': LAYOUTS[layout]}
        jobs = {
            name: make_job(
                prepared(model.to(**placing), args.compile),
                torch.randn(args.batch, input_channels(model), *input_shape(name, args.shape)).to(**placing),
            )
            for name, model in models.items()
        }
        # a CUDA graph is recorded in the second run and has its own memory from the third
        seconds = time_interleaved(
            jobs, args.repeats, synchronizer(args.device), warmup=2 if args.compile is None else 4
        )
        for name, times in seconds.items():
            figures[f'{label(name)}.{layout}.images_per_s'] = args.batch / statistics.median(times)
            figures[f'{label(name)}.{layout}.latency_ms'] = 1e3 * statistics.median(times)
            if REFERENCE in seconds:
                figures[f'{label(name)}.{layout}.ratio_to_swin_t'] = median_ratio(seconds[REFERENCE], times)
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each model, two columns for each layout."""
    form = 'eager' if args.compile is None else f'compiled ({args.compile})'
    table = Table(title=f'batch {args.batch}, {args.dtype}, {form}, {args.device}, {torch.get_num_threads()} threads')
    table.add_column('model')
    table.add_column('input', justify='right')
    for layout in args.layouts:
        table.add_column(f'{layout}\nimages/s', justify='right')
        table.add_column('ratio to\nSwin-T', justify='right')
    for name in args.models:
        cells = [
            figures.get(f'{label(name)}.{layout}.{kind}')
            for layout in args.layouts
            for kind in ('images_per_s', 'ratio_to_swin_t')
        ]
        size = ' x '.join(map(str, input_shape(name, args.shape)))
        table.add_row(label(name), size, *('-' if cell is None else f'{cell:.2f}' for cell in cells))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    timm = require('timm')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    machine = describe_machine(args.device)
    with ending_on_mistakes():
        figures = measure(args)
    Console(width=100).print(make_table(args, figures))
    if args.json is not None:
        setting: Figures = {f'setting.{name}': getattr(args, name) for name in ('batch', 'dtype', 'repeats')}
        setting['setting.compile'] = args.compile or 'no'
        write_json(args.json, {**figures, **setting, **machine, 'machine.timm': timm.__version__})


if __name__ == '__main__':
    main()
