"""Trainings with another number of epochs than in their config, with schedules that are stretched or compressed."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

# Positions in a schedule: single ones, and lists of them.
PLACES = ('begin', 'end', 'T_max', 'step_size', 'total_steps')
PLACE_LISTS = ('milestones', 'periods')
# MMEngine's default.
EMA_MOMENTUM = 0.0002


def check_counts_epochs(cfg: Config) -> None:
    """Raise ValueError for a training that counts iterations."""
    if 'max_epochs' not in (cfg.get('train_cfg') or {}):
        raise ValueError(
            f'{cfg.filename}: its training counts no epochs (train_cfg.max_epochs), so epochs cannot be set'
        )


def rescale_epochs(cfg: Config, epochs: int, epoch_length: int) -> None:
    """Let ``cfg`` train for ``epochs``, and stretch or compress its schedule accordingly.

    Parts of the schedule that count epochs count iterations afterwards; parts shorter than two iterations are removed.
    Parts that count iterations are not changed. The momentum of an ``EMAHook`` is changed so that the initial weights
    have the same share in the final average. With the momentum of a long training, a short one would be evaluated
    mostly by its initial weights.

    Args:
        cfg: Config, which is changed in place.
        epochs: Number of epochs to train for.
        epoch_length: Number of iterations in an epoch.
    """
    planned = cfg.train_cfg.max_epochs
    steps = epochs * epoch_length / planned
    cfg.train_cfg.max_epochs = epochs
    given = cfg.get('param_scheduler') or []
    schedule = [_rescaled(part, steps) for part in ([given] if isinstance(given, Mapping) else given)]
    whole = epochs * epoch_length
    cfg.param_scheduler = [part for part in schedule if part.get('end', whole) - part.get('begin', 0) >= 2]
    for hook in cfg.get('custom_hooks') or []:
        if hook['type'].rpartition('.')[2] == 'EMAHook':
            _rescale_average(hook, epochs / planned)


def _rescale_average(hook: dict[str, Any], share: float) -> None:
    """Rescale the start and the momentum of an ``EMAHook`` to ``share`` of the epochs it was meant for."""
    if 'begin_epoch' in hook:
        hook['begin_epoch'] = round(hook['begin_epoch'] * share)
    if hook.get('ema_type') != 'StochasticWeightAverage':  # StochasticWeightAverage has no momentum
        hook['momentum'] = 1 - (1 - hook.get('momentum', EMA_MOMENTUM)) ** (1 / share)


def _rescaled(scheduler: Mapping[str, Any], steps: float) -> dict[str, Any]:
    """Return a scheduler with positions in iterations, with ``steps`` iterations for each former epoch."""
    if not scheduler.get('by_epoch', True):
        return dict(scheduler)
    changed = {name: round(scheduler[name] * steps) for name in PLACES if scheduler.get(name) is not None}
    changed |= {name: [round(place * steps) for place in scheduler[name]] for name in PLACE_LISTS if name in scheduler}
    kept = {name: value for name, value in scheduler.items() if name not in ('by_epoch', 'convert_to_iter_based')}
    return {**kept, **changed, 'by_epoch': False}
