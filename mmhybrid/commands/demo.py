"""Search a backbone and train a detector with it, on generated data and this machine's own latencies.

    mmhybrid demo [--work-dir work_dirs/demo] [--epochs 16]

Everything is written below the current folder: the images into ``data/demo``, all else into the work directory, whose
folder ``logs`` has the output of each step.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.quiet import QuietCommands, candidates, iterations
from mmhybrid.utils.files import check_stays_within, drop_link_outward

SUPERNET, SEARCH = 'mmhybrid::demo/autovit_supernet.py', 'mmhybrid::demo/autovit_search.py'
DETECTOR = 'mmhybrid::demo/autovit_retinanet.py'
DATA = 'data/demo'  # the folder that the configs read
STEPS = 9
# Modules that the steps need and that take seconds to import.
IMPORTED = (
    *(f'mmhybrid.commands.{name}' for name in ('train', 'profile_latency', 'search', 'export_subnet', 'test')),
    *(f'mmpretrain.{name}' for name in ('models', 'datasets', 'evaluation')),
    *(f'mmdet.{name}' for name in ('models', 'datasets', 'evaluation')),
    'mmhybrid.engine.search_loop',
)


def last_checkpoint(work_dir: str) -> str:
    """Return the path of the last checkpoint of a training."""
    return os.path.relpath(Path(work_dir, 'last_checkpoint').read_text())


def trained_supernet(commands: QuietCommands, to: str, epochs: int) -> str:
    """Draw the images, train a supernet on them, and return the path of its weights."""
    commands.run('draw scenes of textured shapes, in the layouts of ImageNet, COCO and ADE20K', 'make-demo-data', DATA)
    commands.run(
        f'train a supernet, whose networks share their weights, for {epochs} epochs: a random network a step',
        *('train', SUPERNET, '--work-dir', f'{to}/supernet'),
        *('--cfg-options', f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.end={epochs}'),
        of='iterations',
        progress=iterations(epochs),
        metric='largest/accuracy/top1',
    )
    return last_checkpoint(f'{to}/supernet')


def searched(commands: QuietCommands, to: str, supernet: str) -> tuple[float, float]:
    """Search under the median latency of the measured networks; return that latency in ms and the best accuracy."""
    table = f'{to}/latency.json'
    commands.run(
        'measure how long the parts of its networks take on this machine',
        *('profile-latency', SEARCH, '--out', table, '--threads', '1', '--networks', '60', '--repeats', '6'),
    )
    budget = statistics.median(network['ms'] for network in json.loads(Path(table).read_text())['measurements'])
    shutil.rmtree(f'{to}/search', ignore_errors=True)
    within = ('search_cfg.constraints.macs_m=None', f'search_cfg.constraints.latency_ms.max={budget:.3g}')
    commands.run(
        f'search for the most accurate network that takes at most {budget:.3g} ms',
        *('search', SEARCH, '--checkpoint', supernet, '--work-dir', f'{to}/search'),
        *('--cfg-options', f'search_cfg.latency_table={table}', *within),
        of='candidates',
        progress=candidates,
    )
    best = json.loads(Path(f'{to}/search/best_arch.json').read_text())
    return budget, best['metrics']['accuracy/top1']


def fine_tuned(commands: QuietCommands, to: str, supernet: str, accuracy: float) -> str:
    """Export the found network, train it alone, and return the path of its weights."""
    commands.run(
        f'take it out, with {accuracy:g} % of the held-out images right, as a config and weights of its own',
        *('export-subnet', SEARCH, '--checkpoint', supernet, '--arch', f'{to}/search/best_arch.json'),
        *('--out-dir', f'{to}/export', '--into', DETECTOR),
    )
    schedule = ('train_cfg.max_epochs=5', 'train_cfg.val_interval=5', 'param_scheduler.1.end=5')
    commands.run(
        'fine-tune it by itself for 5 epochs',
        *('train', f'{to}/export/best.py', '--work-dir', f'{to}/finetuned', '--cfg-options'),
        *(f'load_from={to}/export/best.pth', *schedule, 'optim_wrapper.optimizer.lr=5e-4'),
        of='iterations',
        progress=iterations(5),
        metric='accuracy/top1',
    )
    tuned = last_checkpoint(f'{to}/finetuned')
    commands.run(
        'test it on images that nothing has seen',
        *('test', f'{to}/export/best.py', tuned, '--work-dir', f'{to}/finetuned'),
        metric='accuracy/top1',
    )
    return tuned


def trained_detector(commands: QuietCommands, to: str) -> str:
    """Train a detector whose backbone is the found network, and return the path of its weights."""
    once = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1')
    commands.run(
        'train RetinaNet for an epoch, with the network from the search as its backbone',
        *('train', f'{to}/export/best_{Path(DETECTOR).name}', '--work-dir', f'{to}/detector', '--cfg-options', *once),
        of='iterations',
        progress=iterations(1),
        metric='coco/bbox_mAP',
    )
    return last_checkpoint(f'{to}/detector')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo and list the files that it made."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder of everything except the images')
    parser.add_argument(
        '--epochs', type=int, default=16, metavar='N', help='number of epochs of the supernet; default: 16'
    )
    args = parser.parse_args(argv)
    if args.epochs < 2:
        parser.error(f'--epochs: got {args.epochs}, allowed: an integer of at least 2, the first of which warms up')
    to = args.work_dir

    with ending_on_mistakes():
        for folder in ('logs', 'supernet', 'search', 'export', 'finetuned', 'detector'):
            check_stays_within(Path(to, folder), to)
        for file in ('latency.json', 'report.html'):
            drop_link_outward(Path(to, file))
    began = time.monotonic()
    commands = QuietCommands(Path(to, 'logs'), STEPS, IMPORTED)
    supernet = trained_supernet(commands, to, args.epochs)
    budget, accuracy = searched(commands, to, supernet)
    tuned = fine_tuned(commands, to, supernet, accuracy)
    detector = trained_detector(commands, to)
    commands.run('show the search as a page', 'report', f'{to}/search', '--out', f'{to}/report.html')

    right = f'with {accuracy:g} % of the held-out images right'
    made = {
        DATA: 'generated scenes in the ImageNet, COCO and ADE20K layouts',
        supernet: 'weights of the supernet',
        f'{to}/latency.json': f'latencies of its parts on this machine; half of the networks take < {budget:.3g} ms',
        f'{to}/search/best_arch.json': f'the best network found within that, {right}',
        f'{to}/search/topk.csv': 'the ten best',
        f'{to}/search/search.journal': 'every candidate',
        f'{to}/export/best.py': 'config of the network alone',
        f'{to}/export/best.pth': 'its weights; best.safetensors holds the same',
        f'{to}/export/best_backbone.py': 'its backbone, for other configs',
        f'{to}/export/best_{Path(DETECTOR).name}': 'RetinaNet with it',
        tuned: 'weights of the network, fine-tuned',
        detector: 'weights of RetinaNet after one epoch',
        f'{to}/report.html': 'the search as a page',
    }
    print(f'\nThe demo took {(time.monotonic() - began) / 60:.1f} minutes and made')
    for path, what in made.items():
        assert Path(path).exists(), path
        print(f'  {path}: {what}')
