"""Blocks that are copied instead of built: a supernet builds a network in each step, mostly of blocks it has built."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import nn

Block = TypeVar('Block', bound=nn.Module)
KEPT_BLOCKS = 512

_blocks: ContextVar['Blocks | None'] = ContextVar('blocks', default=None)


class Blocks:
    """The blocks that were built last, by what they were built from."""

    def __init__(self) -> None:
        self._built: OrderedDict[Hashable, nn.Module] = OrderedDict()

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Within the block :func:`built` copies those that are known.

        The tensors of a copy are those of the first: they have to be replaced before anybody reads or writes them.
        """
        token = _blocks.set(self)
        try:
            yield
        finally:
            _blocks.reset(token)

    def get(self, make: Callable[..., Block], args: tuple[Any, ...]) -> Block:
        """A copy of what ``make`` builds of the arguments."""
        # 1, 1.0 and True are equal, and a block may tell them apart
        key = (make, args, tuple(map(type, args)))
        try:
            known = self._built.get(key)
        except TypeError:  # an argument has no hash
            return make(*args)
        if known is None:
            known = self._built[key] = make(*args)
            if len(self._built) > KEPT_BLOCKS:
                self._built.popitem(last=False)
        self._built.move_to_end(key)
        made: Block = _copied(known)  # type: ignore[assignment]
        return made


def built(make: Callable[..., Block], *args: Any) -> Block:
    """``make(*args)``, or within :meth:`Blocks.copied` a copy of what it built from equal arguments before.

    Args:
        make: Builds a block from its arguments alone; the modules of the block are its children and nothing else of it
            refers to one of them.
        args: Its arguments.
    """
    blocks = _blocks.get()
    return make(*args) if blocks is None else blocks.get(make, args)


def _copied(module: nn.Module) -> nn.Module:
    """Another module with the same tensors and with copies of the children."""
    made = module.__class__.__new__(module.__class__)
    # dicts of hooks, of tensors, sets of names
    state = {
        name: value.copy() if isinstance(value, dict | set | list) else value for name, value in vars(module).items()
    }
    state['_modules'] = {name: None if child is None else _copied(child) for name, child in module._modules.items()}
    vars(made).update(state)
    return made
