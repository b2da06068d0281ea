"""Training of the model that a config describes."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmhybrid.apis.annotation_files import TRAINING, check_annotation_files
from mmhybrid.apis.configs import drop_links_of_runner
from mmhybrid.apis.same_images import train_on_same_images
from mmhybrid.apis.weights import check_resumable
from mmhybrid.engine.checkpoint import FitCheck, ResumeCheck
from mmhybrid.engine.compiling import compile_backbones
from mmhybrid.engine.evaluated_images import EvaluatedImages
from mmhybrid.engine.phase import Phase
from mmhybrid.engine.ranks import join_ranks
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.checkpoint_fit import check_pretrained
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.torch_api import TORCH
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_text

LONGEST_PATH = 4096


def enable_amp(cfg: Config) -> None:
    """Let a config train with automatic mixed precision."""
    is_freezing = str(cfg.optim_wrapper.get('type')).startswith('mmhybrid.Freezing')
    cfg.optim_wrapper.type = 'mmhybrid.FreezingAmpOptimWrapper' if is_freezing else 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Let a config scale the learning rate with the batch size; it needs ``auto_scale_lr.base_batch_size``.

    Raises:
        ValueError: If the config lacks it.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--auto-scale-lr: the config lacks auto_scale_lr.base_batch_size')
    cfg.auto_scale_lr.enable = True


def train(cfg: Config, same_images: bool = False, phase: Phase | None = None) -> None:
    """Build and run a training.

    Args:
        cfg: Config of a training.
        same_images: See :func:`mmhybrid.apis.same_images.train_on_same_images`.
        phase: Hook that records when everything is built; for the tools.

    Raises:
        ValueError: If the config or a checkpoint is wrong. Errors of OpenMMLab are not converted.
    """
    _check_strategy(cfg)
    join_ranks(cfg)
    _check_accumulation(cfg, get_world_size())
    check_annotation_files(cfg, TRAINING)
    hooks = {'finite_loss': {'type': 'mmhybrid.FiniteLossHook'}, **(cfg.get('default_hooks') or {})}
    if hooks['finite_loss'] is None:  # MMEngine accepts None only for its own hooks
        del hooks['finite_loss']
    cfg.default_hooks = hooks
    if same_images:
        train_on_same_images(cfg, get_world_size())
    drop_links_of_runner(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    built = isinstance(runner.model, nn.Module)  # the strategy of a FlexibleRunner builds it later
    if runner._resume:
        path = runner._load_from or latest_checkpoint(runner.work_dir)
        if path is not None and built:
            check_resumable(runner.model, read_checkpoint(path), path)
    elif runner._load_from is not None:
        read_checkpoint(runner._load_from)
        runner.register_hook(FitCheck())
    for module in runner.model.modules() if built else ():
        if not isinstance(module, HybridBackbone):  # these backbones check it themselves
            check_pretrained(module)
    is_compiled = cfg.get('compile') not in (None, False)  # an empty dict stands for torch's defaults
    if built and is_compiled and compile_backbones(runner.model, cfg.compile):
        runner.cfg.compile = False  # so that MMEngine does not compile the whole step
    runner.register_hook(EvaluatedImages())
    runner.register_hook(ResumeCheck())
    runner.register_hook(phase or Phase())
    runner.train()


def _check_strategy(cfg: Config) -> None:
    """Raise ValueError for a strategy whose checkpoints are unpickled before this package can check them."""
    strategy = str((cfg.get('strategy') or {}).get('type', ''))
    unpickling = next((name for name in ('DeepSpeed', 'ColossalAI') if name in strategy), None)
    if unpickling is not None and (cfg.get('resume') or cfg.get('load_from')):
        allowed = (
            f'SingleDeviceStrategy, DDPStrategy or FSDPStrategy to resume or load_from: {unpickling} runs what a file '
            'says'
        )
        raise bad_value('strategy.type', strategy, allowed)


def _check_accumulation(cfg: Config, num_ranks: int) -> None:
    """Raise ValueError where torch leaves gradients of unused parameters unsynchronised, so that ranks diverge.

    Before torch 2.4, a parameter that the last of the accumulated steps does not use, as it happens in a supernet,
    keeps the gradients of its own rank from the steps before (pytorch/pytorch#69031).
    """
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if TORCH < (2, 4) and num_ranks > 1 and counts != 1 and cfg.get('find_unused_parameters'):
        allowed = f'1 on several ranks with find_unused_parameters and torch {torch.__version__}; 2.4 takes others'
        raise bad_value('optim_wrapper.accumulative_counts', counts, allowed)


def latest_checkpoint(work_dir: str) -> str | None:
    """Return the checkpoint that ``last_checkpoint`` in a work folder names, even if the folder has been moved.

    Raises:
        ValueError: If the named checkpoint is neither at its path nor in the folder.
    """
    note = Path(work_dir, 'last_checkpoint')
    if not note.exists():
        return None
    named = read_text(note, LONGEST_PATH).strip()
    if Path(named).exists() and named:
        return named
    beside = Path(work_dir, Path(named).name)
    if not named or not beside.exists():
        raise ValueError(f'{note} names {named}, which is neither there nor beside it')
    return str(beside)
