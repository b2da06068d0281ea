"""Batches of images that are loaded and prepared once, and kept in memory for later passes within a limit."""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import Tensor

from mmhybrid.utils.checks import check_int

INPUTS = 'inputs'  # key of the images in a batch, in all OpenMMLab libraries
KEEP_IMAGES_MB = 1024  # MiB, unless a config sets another value


class ImageMemory:
    """A memory budget that several sets of batches share.

    Args:
        keep_images_mb: Budget in MiB; 0 keeps nothing.

    Raises:
        ValueError: If it is not an int of at least 0.
    """

    def __init__(self, keep_images_mb: int) -> None:
        self.limit_mb = check_int('keep_images_mb', keep_images_mb, 0)
        self._left = keep_images_mb * 2**20

    def take(self, num_bytes: int) -> bool:
        """Take some bytes from the budget, and return whether so many were left."""
        if num_bytes > self._left:
            return False
        self._left -= num_bytes
        return True

    def give_back(self, num_bytes: int) -> None:
        """Return bytes to the budget."""
        self._left += num_bytes


class KeptBatches:
    """The prepared batches of a loader, which are kept after the first complete pass.

    Every pass yields the same. Images are shared between passes. Everything else, such as samples, into which models
    write their predictions, is copied for each pass. If the batches exceed the memory, or somebody wrote into their
    images, all are loaded anew in each pass.

    Args:
        name: Name for the log.
        batches: Batches that are the same, in the same order, in each pass.
        make: Function that prepares a batch.
        memory: Memory budget.
    """

    def __init__(self, name: str, batches: Iterable[Any], make: Callable[[Any], Any], memory: ImageMemory) -> None:
        self._name = name
        self._batches = batches
        self._make = make
        self._memory = memory
        self._keeps = memory.limit_mb > 0
        self._num_bytes = 0
        self._kept: list[_Kept] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the prepared batches."""
        if self._kept is None:
            yield from self._first_pass() if self._keeps else map(self._make, self._batches)
            return
        for kept in self._kept:
            yield kept.fresh()
            self._check(kept)

    def let_go(self) -> bool:
        """Free the memory for good, and return whether anything was kept."""
        held = self._num_bytes > 0
        self._memory.give_back(self._num_bytes)
        self._keeps, self._num_bytes, self._kept = False, 0, None
        return held

    def _first_pass(self) -> Iterator[Any]:
        kept: list[_Kept] = []
        try:
            for batch in self._batches:
                made = self._make(batch)
                if self._keeps and not self._take(made):
                    self._say_too_large()
                    kept.clear()
                    self.let_go()
                if not self._keeps:
                    yield made
                    continue
                kept.append(_Kept.of(made))
                yield kept[-1].fresh()
                self._check(kept[-1])
                if not self._keeps:
                    kept.clear()  # its memory is no longer reserved
            if self._keeps:
                self._kept = kept
        finally:
            if self._kept is None:  # the pass ended early
                self._memory.give_back(self._num_bytes)
                self._num_bytes = 0

    def _say_too_large(self) -> None:
        reason = f'{self._name}: keep_images_mb={self._memory.limit_mb} is too little; they are loaded anew each time'
        print_log(reason, 'current', logging.INFO)

    def _take(self, made: Any) -> bool:
        num_bytes = _bytes_of(made)
        if not self._memory.take(num_bytes):
            return False
        self._num_bytes += num_bytes
        return True

    def _check(self, kept: '_Kept') -> None:
        if self._keeps and kept.is_changed():
            self.let_go()


@dataclass(frozen=True)
class _Kept:
    """A prepared batch, its images, and the version of each image, which counts in-place writes."""

    made: Any
    images: tuple[Tensor, ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, made: Any) -> '_Kept':
        # Tensors from a worker process keep a file open as long as they are shared.
        own = copy.deepcopy(made)
        images = tuple(_images_of(own))
        return cls(own, images, tuple(map(_version, images)))

    def fresh(self) -> Any:
        """Return a copy that shares only the images."""
        return copy.deepcopy(self.made, {id(image): image for image in self.images})

    def is_changed(self) -> bool:
        """Return whether somebody wrote into the images."""
        return tuple(map(_version, self.images)) != self.versions


def _version(image: Tensor) -> int:
    return 0 if image.is_inference() else image._version


def _images_of(value: Any, is_input: bool = False) -> Iterator[Tensor]:
    """Yield the tensors below the key :data:`INPUTS`."""
    if isinstance(value, Tensor):
        if is_input:
            yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _images_of(item, is_input or name == INPUTS)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _images_of(item, is_input)


def _bytes_of(value: Any, inside: tuple[int, ...] = ()) -> int:
    """Return the number of bytes of all arrays within a value, those of samples and of their masks included."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    parts: Iterable[Any] = vars(value).values() if hasattr(value, '__dict__') and id(value) not in inside else ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    return sum(_bytes_of(part, (*inside, id(value))) for part in parts)
