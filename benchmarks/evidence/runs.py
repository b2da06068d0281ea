"""Runs: an arm trained and scored with a seed, in a process of its own, continued where it was interrupted."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import utils as mmengine_device
from mmengine.registry import init_default_scope
from mmpretrain.utils import register_all_modules
from torch import nn

from evidence.claims import Arm, Row
from evidence.dense_images import drawn_scenes, shrunken_camvid
from evidence.images import decoded
from evidence.judges import Judge, image_size, score_of
from evidence.teacher import teacher
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.training import latest_checkpoint, train
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.models.build import build_model, on_meta
from mmhybrid.models.checkpoints import read_checkpoint, weights_of, write_checkpoint
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import CannotGoOnError
from mmhybrid.utils.files import drop_link_outward, open_own, read_json, write_json

CONFIGS = Path(__file__).resolve().parent / 'configs'
SCORE, WEIGHTS, OUTPUT = 'score.json', 'weights.pt', 'output.txt'
# Settings of a config that have no influence on a score.
ELSEWHERE = ('work_dir', 'launcher', 'log_level', 'default_hooks', 'visualizer', 'vis_backends')


@dataclass(frozen=True)
class Place:
    """Where and on which device runs take place.

    Args:
        data: Folder of the images.
        folder: Folder of the runs.
        camvid: Folder of CamVid.
        device: ``cpu`` or ``cuda``.
        jobs: Number of simultaneous runs.
        options: Settings that replace those of all configs, for trials.
    """

    data: Path
    folder: Path
    camvid: Path = Path('data/camvid')
    device: str = 'cpu'
    jobs: int = 1
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Network:
    """An arm as it is trained and scored.

    Args:
        name: Name of the arm.
        config: Config file.
        options: Settings that replace those of the config.
        distillation: See :class:`Arm`.
        judge: See :class:`Arm`.
        params: Number of parameters.
        digest: Hash of all that influences its scores, except the seed.
        first: Network whose weights this one needs: itself, trained, where it has a judge; the one that it begins as.
    """

    name: str
    config: str
    options: Mapping[str, Any]
    distillation: Mapping[str, Any] | None
    judge: Judge | None
    params: int
    digest: str
    first: 'Network | None'

    @classmethod
    def of(cls, row: Row, name: str, place: Place) -> 'Network':
        """The network of an arm of a row."""
        return cls._of(row.arms[name], name, row.config, place)

    @classmethod
    def _of(cls, arm: Arm, name: str, config: str, place: Place) -> 'Network':
        config = arm.config or config
        options = {**arm.options, **(place.options or {})}
        cfg = load_config(str(CONFIGS / config), options)
        told: list[Any] = [{key: value for key, value in cfg.to_dict().items() if key not in ELSEWHERE}]
        told.append(arm.distillation)
        first = None
        if arm.judge is not None:
            first = cls._of(replace(arm, judge=None), 'training', config, place)
            told = [first.digest, _told_of(arm.judge)]
        elif arm.start is not None:
            first = cls._of(arm.start, 'start', config, place)
            told.append(first.digest)
        params = sum(parameter.numel() for parameter in _on_meta(cfg).parameters())
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]
        return cls(name, config, options, arm.distillation, arm.judge, params, digest, first)

    def told(self) -> dict[str, Any]:
        """What the file of the study says of the network, with its MACs for one image."""
        cfg = load_config(str(CONFIGS / self.config), self.options)
        macs = count_complexity(_on_meta(cfg), (3, *image_size(cfg))).macs
        told: dict[str, Any] = {
            'params': self.params,
            'macs': macs,
            'digest': self.digest,
            'options': dict(self.options),
        }
        if self.distillation is not None:
            told['distillation'] = dict(self.distillation)
        return told if self.judge is None else {**told, 'judge': _told_of(self.judge)}


@dataclass(frozen=True)
class Run:
    """A network that is trained, or scored, with one seed.

    Args:
        network: Network that is run.
        seed: Seed of everything random, the choice of held-out images included.
        place: Where it is run.
        keeps: Whether to keep its weights for another run.
    """

    network: Network
    seed: int
    place: Place
    keeps: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the run; rows that have a network in common share it."""
        return self.place.folder / 'runs' / self.network.digest / str(self.seed)

    @property
    def first(self) -> 'Run | None':
        """The run with the same seed that has to end first, if any."""
        first = self.network.first
        return None if first is None else Run(first, self.seed, self.place, keeps=True)

    @property
    def result(self) -> dict[str, Any] | None:
        """``score`` and ``seconds`` of a finished run; None if it is unfinished or lacks weights that are needed."""
        file, weights = self.folder / SCORE, self.folder / WEIGHTS
        return read_json(file) if file.exists() and (weights.exists() or not self.keeps) else None

    def config(self) -> Config:
        """The config of the network, with the images of the seed."""
        cfg = load_config(str(CONFIGS / self.network.config), self.network.options, str(self.folder))
        cfg.randomness.seed = self.seed
        put_images(cfg, self.place, self.seed)
        return cfg

    def work(self) -> None:
        """Train (or continue to) and score, or score what is trained; write the score, and weights that are needed."""
        cfg = self.config()
        began = time.monotonic()
        if self.network.judge is None:
            score = self._train(cfg)
        else:
            assert self.first is not None
            init_default_scope(cfg.default_scope)  # judges build data sets before there is a runner
            score = self.network.judge.score(cfg, str(self.first.folder / WEIGHTS))
        seconds = round(time.monotonic() - began, 1)  # of the last process, where a run was interrupted
        drop_link_outward(self.folder / SCORE)
        write_json(self.folder / SCORE, {'score': score, 'seconds': seconds})
        for checkpoint in self.folder.rglob('*.pth'):
            checkpoint.unlink()

    def _train(self, cfg: Config) -> float:
        """Train the network, and return its score as it was trained."""
        if self.network.distillation is not None:
            cfg.model.teacher = teacher(self.place.folder / 'teacher.pth')
            cfg.model.distillation = dict(self.network.distillation)
        if self.first is not None:
            weights = str(self.first.folder / WEIGHTS)
            if 'architecture' in cfg.model:
                network = self.first.config().model.backbone.arch
                begin = {'type': 'mmhybrid.FromNetwork', 'arch': network, 'checkpoint': weights}
                cfg.model.architecture.backbone.init_cfg = begin
            else:
                cfg.model.backbone.init_cfg = {'type': 'Pretrained', 'checkpoint': weights, 'prefix': 'backbone.'}
        if 'mutator' in cfg.model:
            cfg.model.mutator.seed = self.seed
        cfg.resume = True
        train(cfg)
        last = latest_checkpoint(str(self.folder))
        assert last is not None
        if self.keeps:
            write_checkpoint(self.folder / WEIGHTS, {'state_dict': weights_of(read_checkpoint(last))})
        return score_of(cfg, last)


def put_images(cfg: Config, place: Place, seed: int) -> None:
    """Set a config to the images of a seed, after making those of dense tasks that are missing."""
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    if cfg.default_scope == 'mmseg':
        height, _ = cfg.image_size
        folder = place.folder / f'camvid_{height}'
        lists = shrunken_camvid(place.camvid, folder, height, seed)
        train.update(data_root=str(folder), ann_file=str(lists['train']))
        test.update(data_root=str(folder), ann_file=str(lists['held_out']))
    elif cfg.default_scope == 'mmdet':
        size, _ = cfg.image_size
        coco = str(drawn_scenes(place.folder / 'scenes' / f'{size}px_{seed}', size, seed))
        train.data_root = test.data_root = coco
        cfg.test_evaluator.ann_file = f'{coco}/{test.ann_file}'
    else:
        for images in (train, test):
            images.update(data_root=str(place.data), split=seed)


def perform(runs: Sequence[Run]) -> Iterator[Run]:
    """Run what has not ended yet, several runs at the same time, and yield each run as it ends.

    Runs that others need are run and yielded first.

    Raises:
        CannotGoOnError: If a run fails; the simultaneous ones are stopped.
    """
    if before := {run.first.folder: run.first for run in runs if run.first is not None}:
        yield from perform(list(before.values()))
    waiting = list(runs)
    going: dict[int, tuple[BaseProcess, Run]] = {}
    try:
        while waiting or going:
            while waiting and len(going) < waiting[0].place.jobs:
                run = waiting.pop(0)
                if run.result is not None:
                    yield run
                    continue
                process = _start(run)
                going[process.sentinel] = (process, run)
            for sentinel in wait(list(going)) if going else ():
                process, run = going.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    raise CannotGoOnError(
                        f'{run.network.name}, seed {run.seed}: the process ended with {process.exitcode}; why is in '
                        f'{run.folder / OUTPUT}, and the same command goes on from there'
                    )
                yield run
    finally:
        for process, _ in going.values():
            process.terminate()
            process.join()


def _start(run: Run) -> BaseProcess:
    """Start the process of a run: on a CPU a fork, which has all modules and images; a forked one cannot use CUDA."""
    dataset = run.config().train_dataloader.dataset  # makes the images of dense tasks, or says what is missing
    if run.place.device == 'cpu':
        if dataset.type == 'SplitImages':
            folders = tuple(dataset.get('folders', ('train', 'val')))
            decoded(str(run.place.data), folders, dataset.short_side)
        register_all_modules(init_default_scope=False)
    context = multiprocessing.get_context('fork' if run.place.device == 'cpu' else 'spawn')
    process = context.Process(target=_work, args=(run, os.getpid()))
    process.start()
    return process


def _work(run: Run, parent: int) -> None:
    """Perform a run, alone in its folder, and end when the parent process ends."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(max(num_cores() // run.place.jobs, 1))
    mmengine_device.DEVICE = run.place.device  # MMEngine has chosen one at its import
    run.folder.mkdir(parents=True, exist_ok=True)
    with open_own(run.folder / 'lock', append=True) as lock, open_own(run.folder / OUTPUT, append=True) as output:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for a process that a killed study has left running
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        if run.result is None:
            run.work()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _told_of(judge: Judge) -> dict[str, Any]:
    """A judge as plain data."""
    return {'kind': type(judge).__name__, **asdict(judge)}


def _on_meta(cfg: Config) -> nn.Module:
    with on_meta():
        return build_model(cfg)


def num_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def check_sizes(networks: Sequence[Network], tolerance: float = 0.03) -> None:
    """Raise ValueError unless the largest network has at most 3 % more parameters than the smallest."""
    smallest, largest = (choose(networks, key=lambda network: network.params) for choose in (min, max))
    if largest.params > (1 + tolerance) * smallest.params:
        allowed = f'at most {tolerance:.0%} more than the {smallest.params} of {smallest.name}'
        raise bad_value(f'parameters of {largest.name}', largest.params, allowed)
