"""Loops, hooks and optimizer wrappers for MMEngine; importing the package registers all but the loops of the search."""

from importlib import import_module
from typing import Any

from mmhybrid.engine.checkpoint import AtomicCheckpointHook
from mmhybrid.engine.deploy import DeployHook
from mmhybrid.engine.ema import EMAHook
from mmhybrid.engine.finite_loss import FiniteLossHook
from mmhybrid.engine.freezing import FreezingAmpOptimWrapper, FreezingOptimWrapper
from mmhybrid.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmhybrid.engine.resume import ResumableEpochLoop, ResumableIterLoop
from mmhybrid.registry import LOOPS

__all__ = [
    'AtomicCheckpointHook',
    'DeployHook',
    'EMAHook',
    'FiniteLossHook',
    'FreezingAmpOptimWrapper',
    'FreezingOptimWrapper',
    'LayerDecayOptimWrapperConstructor',
    'ResumableEpochLoop',
    'ResumableIterLoop',
]


def __getattr__(name: str) -> Any:
    """Return a loop of the search, which a config in pure Python style also imports from here."""
    if name in LOOPS.of_search:
        return getattr(import_module(LOOPS.of_search[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
