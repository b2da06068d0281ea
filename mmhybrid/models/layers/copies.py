"""A cache of blocks: a supernet builds a network in each step, and copying a block is faster than building it."""

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
    """The blocks that were used last, by the function and the arguments that built them."""

    def __init__(self) -> None:
        self._built: OrderedDict[Hashable, nn.Module] = OrderedDict()

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Return a context in which :func:`built` copies known blocks.

        A copy shares its tensors with the original; they have to be replaced before anything reads or writes them.
        """
        token = _blocks.set(self)
        try:
            yield
        finally:
            _blocks.reset(token)

    def get(self, make: Callable[..., Block], args: tuple[Any, ...]) -> Block:
        """Return a copy of the block that ``make`` builds from the arguments."""
        # types too, since 1, 1.0 and True are equal but may give different blocks
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
    """Return ``make(*args)``, or within :meth:`Blocks.copied` a copy of what it built from equal arguments before.

    Args:
        make: Function that builds a block from its arguments alone. The block may refer to its modules as children
            only, not in other attributes.
        args: Arguments of the function.
    """
    blocks = _blocks.get()
    return make(*args) if blocks is None else blocks.get(make, args)


def _copied(module: nn.Module) -> nn.Module:
    """Return a new module with the same tensors and with copies of the children."""
    made = module.__class__.__new__(module.__class__)
    # containers are copied: dicts of hooks and of tensors, sets of names
    state = {
        name: value.copy() if isinstance(value, dict | set | list) else value for name, value in vars(module).items()
    }
    state['_modules'] = {name: None if child is None else _copied(child) for name, child in module._modules.items()}
    vars(made).update(state)
    return made
