"""Runs tests, benchmarks and a small search on a GPU within nine minutes.

    python benchmarks/gpu_check.py [--device cuda] [--out work_dirs/gpu_check] [--data IMAGENETTE] [--steps NAME ...]

Each step is a process with a time limit of its own. The most useful steps run first, and together they end within
``--limit-s``. ``report.json`` in ``--out`` is rewritten after each step, so that an interrupted run keeps its results.
A step that compiles is skipped where there is no C compiler. On a CPU everything runs in a small form, which only shows
that the steps work. The file is long because it has to run where only PyTorch is installed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from _common import describe_machine, positive, require

torch = require('torch')
from mmhybrid.torch_api import why_not_compiled  # noqa: E402
from mmhybrid.utils.files import drop_link_outward, open_own, write_json  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SWIN = 'swin_tiny_patch4_window7_224'
OURS = ('GLNet-stl', 'GLNet-4g', 'GLiT-tiny', 'AutoViT-xxs')
PEERS = (SWIN, 'convnext_tiny', 'maxvit_tiny_tf_224', 'mobilevit_xxs')
# If less time than this is left, no further step begins.
SHORTEST_S = 5


@dataclass(frozen=True)
class Form:
    """How much is measured on a device.

    Args:
        dtype: Number format of the benchmarks.
        batch: Batch size of throughput; latency is measured at batch 1.
        train_batch: Batch size of a training step.
        repeats: Number of timed rounds.
        models: Networks to measure, ours and timm's.
        compiled: Groups of networks that are compiled and measured together.
        sizes: Sides in pixels of the square images for which memory is measured.
        sized: Networks whose memory is measured; they take any size.
        networks: Number of networks of the latency table, and number of its rounds.
        supernet: Number of epochs, of counted candidates and of evaluated candidates.
    """

    dtype: str
    batch: int
    train_batch: int
    repeats: int
    models: tuple[str, ...]
    compiled: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]
    sized: tuple[str, ...]
    networks: tuple[int, int]
    supernet: tuple[int, int, int]


FORMS = {
    'cuda': Form(
        dtype='float16',
        batch=128,
        train_batch=64,
        repeats=20,
        models=OURS + PEERS,
        compiled=tuple((name, SWIN) for name in OURS + PEERS[1:]),
        sizes=(224, 512, 1024, 2048),
        sized=(*OURS, SWIN, 'convnext_tiny'),
        networks=(60, 6),
        supernet=(4, 200, 24),
    ),
    'cpu': Form(
        dtype='float32',
        batch=2,
        train_batch=2,
        repeats=1,
        models=('AutoViT-xxs', SWIN),
        compiled=((str(ROOT / 'configs/demo/glit_cls.py'),),),
        sizes=(64, 96),
        sized=('AutoViT-xxs', SWIN),
        networks=(12, 2),
        supernet=(2, 20, 2),
    ),
}


@dataclass(frozen=True)
class Step:
    """One process.

    Args:
        name: Name of the step.
        limit_s: Time limit in seconds.
        command: Arguments of Python; ``{json}`` stands for the file of its figures.
        compiles: Whether it needs a C compiler.
        needs: Name of the step whose files it reads.
    """

    name: str
    limit_s: int
    command: tuple[str, ...]
    compiles: bool = False
    needs: str | None = None


@dataclass
class Outcome:
    """The result of a step: ``done``, ``failed``, ``timed out``, ``interrupted`` or ``skipped``, and its figures."""

    status: str
    reason: str = ''
    seconds: float = 0.0
    figures: object = None


def list_steps(args: Namespace) -> Iterator[Step]:
    """The steps, the most useful first."""
    form, on = FORMS[args.device], ('--device', args.device)
    tests = ('-m', 'pytest', '-v', '-m', 'gpu', '-p', 'no:cacheprovider', '--durations=5')
    yield Step('tests', 150, (*tests, *(str(ROOT / 'tests' / folder) for folder in ('gpu', 'mmcv_ops'))))

    times = ('--repeats', str(form.repeats), '--json', '{json}')
    speed = (program('throughput'), *on, '--dtype', form.dtype, *times)
    batch, one = ('--batch', str(form.batch)), ('--batch', '1', '--layouts', 'nchw')
    yield Step('throughput', 60, (*speed, *batch, '--models', *form.models))
    yield Step('latency', 60, (*speed, *one, '--models', *form.models))
    yield from compiled_steps('throughput', form.compiled[:2], (*speed, *batch, '--compile'))
    step = (program('training_memory'), *on, '--dtype', form.dtype, *times)
    yield Step('training', 60, (*step, '--batch', str(form.train_batch), '--models', *form.models))
    sizes = ('--sizes', *map(str, form.sizes))
    yield Step('memory', 60, (*step, '--repeats', '2', '--batch', '1', *sizes, '--models', *form.sized))
    yield from search_steps(args, form)
    yield from compiled_steps('throughput', form.compiled[2:], (*speed, *batch, '--compile'))
    # at batch 1 the GPU waits for the processor, unless a recorded CUDA graph is replayed
    yield from compiled_steps('latency', form.compiled, (*speed, *one, '--compile', 'reduce-overhead'))


def compiled_steps(kind: str, groups: Sequence[Sequence[str]], command: tuple[str, ...]) -> Iterator[Step]:
    """A step for each group of networks, so that one that compiles too long costs no other group its figures."""
    for models in groups:
        what = ('--layouts', 'channels_last', '--shape', '96', '96', '--models', *models)
        yield Step(f'{kind}-compiled-{Path(models[0]).stem}', 80, (*command, *what), compiles=True)


def search_steps(args: Namespace, form: Form) -> Iterator[Step]:
    """Steps of a supernet, search, export and latency table; without ``--data`` they use the demo data."""
    if args.data is None:
        drawn = ('--num-train', '200', '--num-val', '8', '--size', '64') if args.device == 'cpu' else ()
        data = (program('make_demo_data', 'tools'), 'data/demo', *drawn)
        supernet, search = (ROOT / f'configs/demo/autovit_{part}.py' for part in ('supernet', 'search'))
    else:
        link(args.data, args.out / 'data/imagenette')
        data = (program('split_imagenet', 'tools'), 'data/imagenette/train', 'data/imagenette/meta')
        data += ('--num-held-out', '500')
        name = 'configs/autovit/{}_autovit_xxs_imagenette.py'
        supernet, search = (ROOT / name.format(part) for part in ('supernet', 'search'))
    epochs, counted, evaluated = map(str, form.supernet)
    yield Step('images', 40, data)
    rate = (f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}', f'param_scheduler.1.end={epochs}')
    saved = ('default_hooks.checkpoint.interval=1', f'train_dataloader.num_workers={min(8, os.cpu_count() or 1)}')
    train = (program('train', 'tools'), str(supernet), '--work-dir', 'supernet', '--cfg-options', *rate, *saved)
    yield Step('supernet', 120, train, needs='images')
    weights = ('--checkpoint', f'supernet/epoch_{epochs}.pth')
    stages = {'coarse.budget': counted, 'coarse.population': counted}
    stages |= {'fine.budget': evaluated, 'fine.population': evaluated}
    stages['fine.skeletons.count'] = str(min(8, int(evaluated)))
    options = [f'search_cfg.stages.{name}={value}' for name, value in stages.items()]
    look = (program('search', 'tools'), str(search), *weights, '--work-dir', 'search', '--cfg-options', *options)
    yield Step('search', 60, look, needs='supernet')
    take = (program('export_subnet', 'tools'), str(search), *weights, '--arch', 'search/best_arch.json')
    yield Step('export', 40, (*take, '--out-dir', 'export'), needs='search')
    yield Step('export-test', 40, (program('test', 'tools'), 'export/best.py', 'export/best.pth'), needs='export')
    few = ('--networks', str(form.networks[0]), '--repeats', str(form.networks[1]))
    demo = str(ROOT / 'configs/demo/autovit_search.py')
    table = (program('profile_latency', 'tools'), demo, '--out', 'table.json', '--device', args.device, *few)
    yield Step('latency-table', 60, table)
    judge = (program('latency_report', 'tools'), 'table.json', '--json', '{json}', *few)
    yield Step('latency-report', 60, judge, needs='latency-table')


def program(name: str, folder: str = 'benchmarks') -> str:
    """The path of a program."""
    return str(ROOT / folder / f'{name}.py')


def link(source: Path, target: Path) -> None:
    """Link the class folders of ``source`` below ``target``, so that the split is written beside the links."""
    target.mkdir(parents=True, exist_ok=True)
    for part in ('train', 'val'):
        (target / part).unlink(missing_ok=True)
        (target / part).symlink_to((source / part).resolve())


def run_step(step: Step, args: Namespace, limit_s: float, outcome: Outcome) -> None:
    """Run a step to its end or time limit, and enter the result into ``outcome``, also when interrupted."""
    figures, log = args.out / f'{step.name}.json', args.out / f'{step.name}.log'
    figures.unlink(missing_ok=True)
    shutil.rmtree(args.out / step.name, ignore_errors=True)  # a search would continue that of an earlier run
    command = [sys.executable, '-W', 'ignore', *(str(figures) if word == '{json}' else word for word in step.command)]
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'MMHYBRID_TEST_DEVICE': args.device, 'COLUMNS': '120'}
    if args.device == 'cpu':
        env['CUDA_VISIBLE_DEVICES'] = ''
    began = time.monotonic()
    outcome.status = 'interrupted'
    with open_own(log) as output:
        process = subprocess.Popen(
            command,
            cwd=args.out,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
            outcome.status, outcome.reason = ('failed', f'exit code {code}') if code else ('done', '')
        except subprocess.TimeoutExpired:
            outcome.status, outcome.reason = 'timed out', f'after {limit_s:.0f} s'
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the processes that it started too
            process.wait()
            outcome.seconds = round(time.monotonic() - began, 1)
            if figures.is_file():
                outcome.figures = json.loads(figures.read_text())


def check(args: Namespace) -> dict[str, Outcome]:
    """Run the steps, and write the report after each."""
    began = time.monotonic()
    machine = describe_machine(args.device)
    print(json.dumps(machine, indent=1), flush=True)
    no_compiler, outcomes = why_not_compiled(args.device), {}

    def write() -> None:
        steps = {name: asdict(outcome) for name, outcome in outcomes.items()}
        drop_link_outward(args.out / 'report.json')
        write_json(args.out / 'report.json', {**machine, 'form': asdict(FORMS[args.device]), 'steps': steps})

    for step in list_steps(args):
        if args.steps and step.name not in args.steps:
            continue
        left = args.limit_s * args.slower - (time.monotonic() - began)
        outcome = outcomes[step.name] = Outcome('skipped')
        if step.compiles and no_compiler is not None:
            outcome.reason = no_compiler
        elif left < SHORTEST_S:
            outcome.reason = f'the {args.limit_s * args.slower} s are over'
        elif step.needs in outcomes and outcomes[step.needs].status != 'done':
            outcome.reason = f'{step.needs}: {outcomes[step.needs].status}'
        else:
            try:
                run_step(step, args, min(step.limit_s * args.slower, left), outcome)
            finally:
                write()
        print(f'{step.name}: {outcome.status} {outcome.reason} ({outcome.seconds} s)', flush=True)
        if outcome.status in ('failed', 'timed out'):
            print(*(args.out / f'{step.name}.log').read_text(errors='replace').splitlines()[-12:], sep='\n', flush=True)
        write()
    return outcomes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the steps, print and write the results, and end with exit code 1 if a step failed."""
    parser = ArgumentParser(description='Tests, benchmarks and a search on a GPU within nine minutes.')
    parser.add_argument('--device', choices=tuple(FORMS), default='cuda')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/gpu_check'), metavar='DIR', help='folder of all files'
    )
    parser.add_argument(
        '--data', type=Path, metavar='DIR', help='folder of Imagenette, with train and val; default: drawn scenes'
    )
    parser.add_argument('--steps', nargs='+', metavar='NAME', help='steps to run; default: all')
    parser.add_argument(
        '--limit-s', type=positive, default=520, metavar='N', help='time limit of all steps in seconds; default: 520'
    )
    parser.add_argument('--slower', type=positive, default=1, metavar='N', help='factor of all time limits; default: 1')
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: got cuda, which this torch does not find; allowed here: cpu')
    if args.data is not None and not all((args.data / part).is_dir() for part in ('train', 'val')):
        parser.error(f'--data: got {args.data}, allowed: a folder with the folders train and val')
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [step.name for step in list_steps(args)]
    for name in args.steps or ():
        if name not in names:
            parser.error(f'--steps: got {name}, allowed: {", ".join(names)}')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcomes = check(args)
    print(f'written: {args.out / "report.json"}')
    sys.exit(any(outcome.status in ('failed', 'timed out') for outcome in outcomes.values()))


if __name__ == '__main__':
    main()
