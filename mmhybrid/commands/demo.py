"""From nothing to a detector with a searched backbone, on generated data and this machine's own latencies.

    mmhybrid demo [--work-dir work_dirs/demo] [--epochs 16]

Everything is written below the current folder: the images into ``data/demo``, all else into the work directory.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SUPERNET, SEARCH = 'mmhybrid::demo/autovit_supernet.py', 'mmhybrid::demo/autovit_search.py'
DETECTOR = 'mmhybrid::demo/autovit_retinanet.py'
DATA = 'data/demo'  # which the configs read
# As python -m, but for the current folder: modules are where this process finds them.
PROGRAM = 'import sys; sys.path[:] = {!r}; from mmhybrid.__main__ import main; main()'


def run(*command: str) -> None:
    """Run ``mmhybrid COMMAND``; stop with its exit code if it fails."""
    print(f'\n$ mmhybrid {shlex.join(command)}', flush=True)
    code = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM.format(sys.path), *command]).returncode
    if code:
        sys.exit(code)


def train(config: str, work_dir: str, *options: str) -> str:
    """Train, and name the last checkpoint."""
    run('train', config, '--work-dir', work_dir, *(('--cfg-options', *options) if options else ()))
    return os.path.relpath(Path(work_dir, 'last_checkpoint').read_text())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo and name the files it made."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='where everything but the images goes')
    parser.add_argument('--epochs', type=int, default=16, metavar='N', help='of the supernet; default: 16')
    args = parser.parse_args(argv)
    if args.epochs < 2:
        parser.error(f'--epochs: got {args.epochs}, allowed: an integer of at least 2, the first of which warms up')
    to, epochs = args.work_dir, args.epochs

    began = time.monotonic()
    run('make-demo-data', DATA)
    supernet = train(SUPERNET, f'{to}/supernet', f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.end={epochs}')

    table = f'{to}/latency.json'
    few = ('--networks', '60', '--repeats', '6')
    run('profile-latency', SEARCH, '--out', table, '--threads', '1', *few)
    # half of the networks are faster
    budget = statistics.median(network['ms'] for network in json.loads(Path(table).read_text())['measurements'])

    shutil.rmtree(f'{to}/search', ignore_errors=True)
    within = ('search_cfg.constraints.macs_m=None', f'search_cfg.constraints.latency_ms.max={budget:.3g}')
    options = ('--cfg-options', f'search_cfg.latency_table={table}', *within)
    run('search', SEARCH, '--checkpoint', supernet, '--work-dir', f'{to}/search', *options)

    found = ('--arch', f'{to}/search/best_arch.json', '--out-dir', f'{to}/export')
    run('export-subnet', SEARCH, '--checkpoint', supernet, *found, '--into', DETECTOR)
    weights = f'load_from={to}/export/best.pth'
    schedule = ('train_cfg.max_epochs=5', 'train_cfg.val_interval=5', 'param_scheduler.1.end=5')
    rate = 'optim_wrapper.optimizer.lr=5e-4'
    tuned = train(f'{to}/export/best.py', f'{to}/finetuned', weights, *schedule, rate)
    run('test', f'{to}/export/best.py', tuned, '--work-dir', f'{to}/finetuned')

    once = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1')
    detector = train(f'{to}/export/best_{Path(DETECTOR).name}', f'{to}/detector', *once)
    run('report', f'{to}/search', '--out', f'{to}/report.html')

    made = {
        DATA: 'generated scenes in the ImageNet, COCO and ADE20K layouts',
        supernet: 'weights of the supernet',
        table: f'latencies of its parts on this machine; half of the networks are faster than {budget:.3g} ms',
        f'{to}/search/best_arch.json': 'the best network found within that',
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
