"""Where the time of a network goes, by kind of operator (AutoViT, figure 4)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

KINDS = ('convolution', 'attention', 'mlp', 'norm', 'reshape', 'other')
# Words in operator names, in the order in which they decide.
_WORDS = {
    'convolution': ('conv',),
    'norm': ('norm',),
    'attention': ('scaled_dot_product', 'softmax', 'bmm'),
    'mlp': ('linear', 'matmul', 'addmm', 'einsum', '::mm'),
    'reshape': (
        *('view', 'reshape', 'permute', 'transpose', 'flatten', 'cat', 'copy', 'clone', 'contiguous', 'expand', 'pad'),
        *('split', 'chunk', 'unbind', 'stack', 'upsample', 'roll', 'select', 'slice', '::t', '::to', 'fold', 'index'),
    ),
}
_ATTENTION = ('attention', 'attn', 'mhsa', 'msa')


def operator_breakdown(model: nn.Module, images: Tensor, runs: int = 10) -> dict[str, float]:
    """Milliseconds of a forward pass by kind of operator.

    Linear layers within a module named after attention count as ``attention``, the others as ``mlp``; activations and
    sums are ``other``. What Python takes between the operators is in none of them.

    Args:
        model: Any module that takes images, where they are.
        images: (B, C, H, W).
        runs: Profiled passes, after two others.
    """
    on_gpu = images.is_cuda
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with torch.inference_mode(), _attention_labelled(model.eval()):
        for _ in range(2):
            model(images)
        with profile(activities=activities) as profiler:
            for _ in range(runs):
                model(images)
    milliseconds = dict.fromkeys(KINDS, 0.0)
    for event in profiler.events() or ():
        if event.name.startswith('aten::') and not any(_is_operator(parent) for parent in _parents(event)):
            microseconds = event.device_time_total if on_gpu else event.cpu_time_total
            milliseconds[_kind(event)] += microseconds / 1e3 / runs
    return milliseconds


def _kind(event: Any) -> str:
    kind = next((kind for kind, words in _WORDS.items() if any(word in event.name for word in words)), 'other')
    if kind == 'mlp' and any(parent.name == 'attention' for parent in _parents(event)):
        return 'attention'
    return kind


def _is_operator(event: Any) -> bool:
    return bool(event.name.startswith('aten::'))


def _parents(event: Any) -> Iterator[Any]:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


@contextmanager
def _attention_labelled(model: nn.Module) -> Iterator[None]:
    """Let the profiler see which operators run within attention."""
    open_labels: list[Any] = []

    def enter(*_: object) -> None:
        open_labels.append(record_function('attention'))
        open_labels[-1].__enter__()

    def leave(*_: object) -> None:
        open_labels.pop().__exit__(None, None, None)

    hooks = []
    for module in model.modules():
        if any(word in type(module).__name__.lower() for word in _ATTENTION):
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
