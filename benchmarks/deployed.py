"""Latency of the presets in eager, deployed, compiled and exported form, beside timm's and an earlier mmhybrid's.

    python benchmarks/deployed.py [--before CHECKOUT] [--models GLNet-4g swin_tiny_patch4_window7_224...]
        [--forms eager deployed compiled onnxruntime openvino] [--rounds 15] [--json FILE]

The figures are milliseconds of processor time at batch 1 with one thread in float32, the median over the rounds. In
each round every network runs twice in every form, and the second run counts. Freed memory stays in the process, as
docs/latency.md explains. ``deployed`` is eager torch after ``switch_to_deploy``; ``compiled`` (torch.compile with
frozen weights), ``onnxruntime`` and ``openvino`` run that form too. timm's networks have no deployed form and run as
they are. ``--before`` names a folder with another checkout, whose eager form is measured in a process of its own,
interleaved with the rest.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _common import Figures, add_json_argument, describe_machine, median_ratio, positive, require

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from mmhybrid.latency.memory import kept_memory
from mmhybrid.utils.files import write_json

throughput = require('throughput')

MODELS = [
    'GLNet-4g',
    'GLNet-stl',
    'GLiT-tiny',
    'AutoViT-xxs',
    'swin_tiny_patch4_window7_224',
    'convnext_tiny',
    'deit_tiny_patch16_224',
    'mobilevit_xxs',
]
BEFORE = 'before'
Job = Callable[[], object]
# The program of another checkout: for each line that it reads, it runs the network of that name and prints its time.
SERVER = """
import sys, time
sys.path.insert(0, 'benchmarks')
import mmhybrid
import throughput
import torch
from mmhybrid.latency.memory import kept_memory
torch.set_num_threads(1)
networks = {}
with kept_memory(), torch.inference_mode():
    for line in sys.stdin:
        name = line.strip()
        if name not in networks:
            networks[name] = throughput.build(name)
        images = torch.randn(1, 3, *throughput.input_shape(name, None))
        networks[name](images)
        start = time.process_time()
        networks[name](images)
        print('ms', 1e3 * (time.process_time() - start), flush=True)
"""


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Latency of the presets in eager, deployed, compiled and exported form.')
    parser.add_argument('--before', type=Path, metavar='CHECKOUT', help='folder with an earlier version of mmhybrid')
    parser.add_argument('--models', nargs='+', choices=throughput.SIZES, default=MODELS, metavar='NAME')
    parser.add_argument('--forms', nargs='+', choices=FORMS, default=list(FORMS))
    parser.add_argument('--rounds', type=positive, default=15, metavar='N', help='number of timed rounds; default: 15')
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.before is not None and not (args.before / 'benchmarks' / 'throughput.py').is_file():
        parser.error(f'--before: got {args.before}, allowed: a checkout of mmhybrid')
    return args


def deployed(model: nn.Module) -> nn.Module:
    """The deployed form of a preset, or a network of timm as it is."""
    if hasattr(model, 'backbone'):
        require('mmhybrid.models.deployed').switch_to_deploy(model)
    return model


def in_torch(model: Callable[[torch.Tensor], object], images: torch.Tensor) -> Job:
    """One forward pass."""
    return throughput.make_job(model, images)


def compiled(model: nn.Module, images: torch.Tensor) -> Job:
    """One forward pass, compiled by torch.compile for frozen weights."""
    torch._dynamo.reset()
    options = {'freezing': True}
    return in_torch(torch.compile(deployed(model), dynamic=False, options=options), images)


def onnx_file(model: nn.Module, images: torch.Tensor, folder: str) -> str:
    """Write the deployed form, and return its path."""
    path = str(Path(folder, f'{id(model)}.onnx'))
    with torch.no_grad():
        torch.onnx.export(
            deployed(model), (images,), path, dynamo=True, external_data=False, input_names=['images'], verbose=False
        )
    return path


def in_onnxruntime(model: nn.Module, images: torch.Tensor) -> Job:
    """One run of ONNX Runtime."""
    runtime = require('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        session = runtime.InferenceSession(onnx_file(model, images, folder), options, ['CPUExecutionProvider'])
    feed = {'images': images.numpy()}
    return lambda: session.run(None, feed)


def in_openvino(model: nn.Module, images: torch.Tensor) -> Job:
    """One run of OpenVINO in float32, as the others are."""
    core = require('openvino').Core()
    settings = {'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
    with tempfile.TemporaryDirectory() as folder:
        request = core.compile_model(onnx_file(model, images, folder), 'CPU', settings).create_infer_request()
    feed = {'images': images.numpy()}
    return lambda: request.infer(feed)


FORMS: dict[str, Callable[[nn.Module, torch.Tensor], Job]] = {
    'eager': in_torch,
    'deployed': lambda model, images: in_torch(deployed(model), images),
    'compiled': compiled,
    'onnxruntime': in_onnxruntime,
    'openvino': in_openvino,
}


class Earlier:
    """Runs the eager networks of another checkout in a process of their own."""

    def __init__(self, checkout: Path) -> None:
        paths = [str(checkout.resolve()), str(checkout.resolve() / 'benchmarks')]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', SERVER],
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def milliseconds(self, name: str) -> float:
        """Milliseconds of one forward pass of the network ``name``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith('ms '):
                return float(line.split()[1])
        raise RuntimeError(f'the process of the earlier checkout ended with {self.process.wait()}')

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def timed(job: Job) -> Callable[[], float]:
    """A function that runs ``job`` and returns its milliseconds of processor time."""

    def run() -> float:
        job()  # other networks ran since and filled the caches
        start = time.process_time()
        job()
        return 1e3 * (time.process_time() - start)

    return run


def measure(args: Namespace) -> Figures:
    """Medians of all networks in all forms, and their ratios to the earlier checkout or to eager."""
    earlier = None if args.before is None else Earlier(args.before)
    clocks: dict[tuple[str, str], Callable[[], float]] = {}
    for name in track(args.models, description='building', transient=True):
        images = torch.randn(1, 3, *throughput.input_shape(name, None))
        for form in args.forms:
            is_deployed_eager = form == 'deployed' and name in throughput.TIMM_SIZES
            if not is_deployed_eager:
                clocks[name, form] = timed(FORMS[form](throughput.build(name), images))
        if earlier is not None and name in throughput.OURS:
            clocks[name, BEFORE] = lambda name=name: earlier.milliseconds(name)  # type: ignore[misc]
    times: dict[tuple[str, str], list[float]] = {key: [] for key in clocks}
    gc.collect()
    with kept_memory():
        for turn in track(range(-2, args.rounds), description='timing', transient=True):
            for key, clock in clocks.items():
                found = clock()
                if turn >= 0:
                    times[key].append(found)
    if earlier is not None:
        earlier.close()
    figures: Figures = {}
    for (name, form), values in times.items():
        figures[f'{name}.{form}.cpu_ms'] = statistics.median(values)
        base = BEFORE if (name, BEFORE) in times else 'eager'
        if (name, base) in times:
            figures[f'{name}.{form}.ratio_to_{base}'] = median_ratio(values, times[name, base])
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each network, a column for each form."""
    forms = [*([] if args.before is None else [BEFORE]), *args.forms]
    table = Table(
        title='milliseconds of processor time, batch 1, one thread, float32; in brackets: ratio to the first form'
    )
    table.add_column('network')
    for form in forms:
        table.add_column(form, justify='right')
    for name in args.models:
        cells = []
        for form in forms:
            value: Any = figures.get(f'{name}.{form}.cpu_ms')
            ratio: Any = figures.get(f'{name}.{form}.ratio_to_{BEFORE}', figures.get(f'{name}.{form}.ratio_to_eager'))
            cells.append('' if value is None else f'{value:.1f}' + ('' if ratio is None else f' ({ratio:.2f})'))
        table.add_row(name, *cells)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    args = parse_args(argv)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    figures = describe_machine('cpu') | measure(args)
    Console().print(make_table(args, figures))
    print(json.dumps({key: value for key, value in figures.items() if key.startswith('machine')}))
    if args.json is not None:
        write_json(args.json, figures)


if __name__ == '__main__':
    main()
