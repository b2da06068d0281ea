"""Time of a training step and peak memory of networks by input size, beside timm's.

    python benchmarks/training_memory.py [--device cuda --dtype float16] [--batch 64] [--sizes 224 512] [--compile]
        [--models GLNet-4g swin_tiny...] [--json FILE]

A training step is forward under autocast, cross-entropy, backward and an AdamW step. Memory is the peak of a step, and
of a forward pass in inference mode, beyond the memory of weights and optimizer; torch measures it on a GPU only. A
network that does not fit has no figures at that size. ``--compile`` also times each network compiled by torch.compile,
in the same rounds. The file is rewritten after each network.
"""

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

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
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

throughput = require('throughput')  # first: it imports mmhybrid before torchvision
from mmhybrid.torch_api import TORCH, why_not_compiled  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402

KINDS = ('train_ms', 'ratio_to_swin_t', 'train_peak_mib', 'infer_peak_mib', 'compiled_to_eager')


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Time of a training step and peak memory of networks by input size.')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument(
        '--dtype', choices=throughput.DTYPES, default='float32', help='number format of autocast; default: none'
    )
    parser.add_argument('--batch', type=positive, default=8, metavar='N', help='batch size; default: 8')
    parser.add_argument('--sizes', nargs='+', type=positive, metavar='N', help='image sizes in pixels; default: own')
    parser.add_argument('--threads', type=positive, metavar='N', help="number of CPU threads; default: torch's")
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='number of timed rounds; default: 10')
    parser.add_argument('--models', nargs='+', choices=throughput.SIZES, default=list(throughput.SIZES), metavar='NAME')
    parser.add_argument('--compile', action='store_true', help='also time compiled networks')
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.compile and (reason := why_not_compiled(args.device)) is not None:
        parser.error(f'--compile: this machine has {reason}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: got cuda, which this torch does not find')
    return args


@contextmanager
def peak_memory(figures: Figures, name: str, device: str) -> Iterator[None]:
    """Enter the peak memory of the block on a GPU into ``figures``, in MiB beyond what was allocated before."""
    if device != 'cuda':
        yield
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield
    torch.cuda.synchronize()
    figures[name] = (torch.cuda.max_memory_allocated() - before) / 2**20


def autocast(device: str, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to a dtype; none for float32, which torch 2.1 does not accept on a CPU."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device, dtype)


def make_step(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """One training step."""
    device = images.device.type
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-6)
    half = dtype is torch.float16
    scaler = torch.amp.GradScaler(device, enabled=half) if TORCH >= (2, 3) else torch.cuda.amp.GradScaler(enabled=half)
    labels = torch.arange(len(images), device=device)

    def job() -> object:
        optimizer.zero_grad()
        with autocast(device, dtype):
            loss = F.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        return scaler.update()

    return job


def measure_size(args: Namespace, size: int | None, keep: Callable[[Figures], object]) -> Figures:
    """Figures of all networks at a size; ``keep`` is called with them whenever there are more."""
    figures: Figures = {}
    jobs: dict[str, Callable[[], object]] = {}
    for name in args.models:
        side = size or throughput.SIZES[name]
        key = f'{name}.{side}'
        images = torch.randn(args.batch, 3, side, side, device=args.device)
        dtype = throughput.DTYPES[args.dtype]
        try:
            model = throughput.build(name, side).to(args.device)
            with (
                peak_memory(figures, f'{key}.infer_peak_mib', args.device),
                torch.inference_mode(),
                autocast(args.device, dtype),
            ):
                model(images)
            step = make_step(model, images, dtype)
            step()  # the optimizer allocates its state
            with peak_memory(figures, f'{key}.train_peak_mib', args.device):
                step()
            model.zero_grad()
        except torch.cuda.OutOfMemoryError:
            figures[f'{key}.fits'] = 'no'
        else:
            jobs[name] = step
            if args.compile:
                model = throughput.build(name, side).to(args.device)
                model.compile(fullgraph=True, dynamic=False)
                jobs[f'{name} compiled'] = make_step(model, images, dtype)
        keep(figures)
    seconds = time_interleaved(jobs, args.repeats, synchronizer(args.device))
    for name in args.models:
        if name not in seconds:
            continue
        key, times = f'{name}.{size or throughput.SIZES[name]}', seconds[name]
        if args.compile:
            figures[f'{key}.compiled_to_eager'] = median_ratio(seconds[f'{name} compiled'], times)
        figures[f'{key}.train_ms'] = 1e3 * statistics.median(times)
        if throughput.REFERENCE in seconds:
            figures[f'{key}.ratio_to_swin_t'] = median_ratio(seconds[throughput.REFERENCE], times)
    keep(figures)
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each network and size."""
    table = Table(title=f'batch {args.batch}, {args.dtype}, {args.device}, {torch.get_num_threads()} threads')
    table.add_column('model')
    table.add_column('input', justify='right')
    for column in (
        'training step\nms',
        "speed over\nSwin-T's",
        'peak of a\nstep, MiB',
        'of inference,\nMiB',
        'time, compiled\nover eager',
    ):
        table.add_column(column, justify='right')
    for size in args.sizes or (None,):
        for name in args.models:
            side = size or throughput.SIZES[name]
            cells = [figures.get(f'{name}.{side}.{kind}') for kind in KINDS]
            table.add_row(name, str(side), *('-' if cell is None else f'{cell:.2f}' for cell in cells))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    require('timm')
    setting = {f'setting.{name}': getattr(args, name) for name in ('batch', 'dtype', 'repeats')}
    figures: Figures = {**describe_machine(args.device), **setting}

    def keep(found: Figures) -> None:
        figures.update(found)
        if args.json is not None:
            write_json(args.json, figures)

    for size in args.sizes or (None,):
        measure_size(args, size, keep)
    Console(width=110).print(make_table(args, figures))


if __name__ == '__main__':
    main()
