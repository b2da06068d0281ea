"""Generate the demo data and train a small network on each of the three tasks.

python tools/demo.py
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = (
    ('autovit_cls', ['train_cfg.max_epochs=15', 'param_scheduler.1.end=15']),
    ('glnet_det', ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1']),
    ('glit_seg', ['train_cfg.max_iters=100', 'train_cfg.val_interval=100', 'param_scheduler.1.end=100']),
)


def run(*command: str) -> None:
    """Run a command of this checkout; stop with its exit code if it fails."""
    print(f'$ python {" ".join(command)}', flush=True)
    code = subprocess.run([sys.executable, '-W', 'ignore', *command], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def main() -> None:
    """Run the demo and name the files it made."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='where logs and checkpoints go')
    args = parser.parse_args()

    began = time.monotonic()
    run('tools/make_demo_data.py', 'data/demo')
    for name, options in RUNS:
        work_dir = f'{args.work_dir}/{name}'
        run('tools/train.py', f'configs/demo/{name}.py', '--work-dir', work_dir, '--cfg-options', *options)
    print(f'\nThe demo took {(time.monotonic() - began) / 60:.1f} minutes and made')
    print('  data/demo: the generated scenes in the ImageNet, COCO and ADE20K layouts')
    for name, _ in RUNS:
        checkpoint = Path((ROOT / args.work_dir / name / 'last_checkpoint').read_text())
        print(f'  {args.work_dir}/{name}: logs and {checkpoint.name}')


if __name__ == '__main__':
    main()
