"""Iteration-based recipes with another batch size, trained on as many images as published."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from mmengine.config import Config

from mmhybrid.utils.checks import bad_value, check_int

# Arguments of schedules without epochs that count iterations, besides ``begin`` and ``end``.
_COUNTS: dict[str, tuple[str, ...]] = {
    'LinearLR': (),
    'ConstantLR': (),
    'PolyLR': (),
    'CosineAnnealingLR': ('T_max',),
    'MultiStepLR': ('milestones',),
    'StepLR': ('step_size',),
}


def train_on_same_images(cfg: Config, num_processes: int) -> None:
    """Make an iteration-based training see as many images as with the batch size that its recipe is for.

    The factor is the ratio of ``auto_scale_lr.base_batch_size`` to the number of images in an iteration. It multiplies
    ``max_iters``, the start and the interval of validation, all schedules, and the interval of checkpoints by
    iterations.

    Args:
        cfg: Config of a training, which is changed in place.
        num_processes: Number of processes that take a batch each.

    Raises:
        ValueError: If the recipe counts epochs, does not give the batch size it is for, or has an unknown schedule.
    """
    train_cfg: Any = cfg.get('train_cfg') or {}
    if 'max_iters' not in train_cfg:
        raise ValueError('--same-images: the config counts epochs, which have the same images with any batch')
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--same-images: the config lacks auto_scale_lr.base_batch_size')
    images = check_int('train_dataloader.batch_size', cfg.train_dataloader.get('batch_size'), 1) * num_processes
    factor = Fraction(cfg.auto_scale_lr.base_batch_size, images)
    for name in ('max_iters', 'val_interval'):
        if name in train_cfg:
            train_cfg[name] = _scaled(train_cfg[name], factor)
    if train_cfg.get('val_begin', 1) > 1:
        train_cfg.val_begin = _scaled(train_cfg.val_begin, factor)
    if train_cfg.get('dynamic_intervals'):
        train_cfg.dynamic_intervals = [
            (_scaled(begin, factor), _scaled(interval, factor)) for begin, interval in train_cfg.dynamic_intervals
        ]
    schedules: Any = cfg.get('param_scheduler') or []
    for schedule in [schedules] if isinstance(schedules, Mapping) else schedules:
        _scale_schedule(schedule, factor)
    checkpoint: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True) and checkpoint.get('interval', -1) > 0:
        checkpoint.interval = _scaled(checkpoint.interval, factor)


def _scale_schedule(schedule: Any, factor: Fraction) -> None:
    if schedule.get('by_epoch', True):
        return
    kind = schedule['type'].rpartition('.')[-1]
    if kind not in _COUNTS:
        raise bad_value('--same-images: param_scheduler', kind, f'one of {", ".join(_COUNTS)}')
    for name in ('begin', 'end', *_COUNTS[kind]):
        value = schedule.get(name)
        if isinstance(value, int):
            schedule[name] = _scaled(value, factor) if value else 0
        elif value is not None:
            schedule[name] = [_scaled(item, factor) for item in value]


def _scaled(count: int, factor: Fraction) -> int:
    return max(1, round(count * factor))
