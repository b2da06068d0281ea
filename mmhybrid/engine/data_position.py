"""The position of a training in its data, in samples.

Another batch size or number of processes can therefore continue from the same position.
"""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from torch.utils.data import BatchSampler, DataLoader

from mmhybrid.utils.checks import check_class, check_int, check_keys

HUB_KEY = 'data_position'
# Samplers that give process r of n the samples r, r + n, r + 2n, ... of one order. The samples used by n processes are
# then the beginning of that order, whatever n is.
STRIDED = ('DefaultSampler', 'InfiniteSampler', 'RepeatAugSampler')
_PROBES = 32  # number of samples by which two data sets of one size are told apart

# An iteration of a checkpoint may have had MOST_TIMES times as many samples as one has now, and MOST_SAMPLES anyway.
MOST_TIMES, MOST_SAMPLES = 64, 2**14
_MOST = 2**31 - 1  # largest number of samples of a batch, and of processes


@dataclass(frozen=True)
class Feed:
    """The source of a training's batches.

    Args:
        dataset: Description of the data set: its class, its size and a digest of the names of some samples.
        sampler: Class of the sampler with its arguments.
        batch_sampler: Class that groups the sampler's indices.
        batch_size: Number of samples in a batch of one process.
        num_processes: Number of processes that take a batch each.
    """

    dataset: str
    sampler: str
    batch_sampler: str
    batch_size: int
    num_processes: int

    @property
    def samples(self) -> int:
        """Number of samples in an iteration, summed over all processes."""
        return self.batch_size * self.num_processes

    @property
    def is_plain(self) -> bool:
        """Whether batches are the sampler's indices in its order."""
        return self.batch_sampler == BatchSampler.__name__

    def refuse_another(self, before: 'Feed') -> None:
        """Raise ValueError if a position within an epoch of the feed ``before`` cannot be found in this feed."""
        kept = {'dataset', 'sampler', 'batch_sampler'}
        if not before.is_plain:
            kept |= {'batch_size', 'num_processes'}
        elif before.sampler.partition('(')[0] not in STRIDED:
            kept |= {'num_processes'}
        for field in fields(self):
            old, new = getattr(before, field.name), getattr(self, field.name)
            if field.name in kept and old != new:
                raise ValueError(
                    f'training cannot resume in the middle of an epoch with another {field.name}: the checkpoint has '
                    f'{old}, the config {new}; continue with the former, or load only the weights (load_from)'
                )


@dataclass(frozen=True)
class DataPosition:
    """The number of samples of an epoch that all processes together have trained on, and the feed they came from."""

    epoch: int
    samples: int
    feed: Feed

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the message hub."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'DataPosition':
        """Return the position that :meth:`to_dict` described; raise ValueError for any other data."""
        check_keys(HUB_KEY, data, [field.name for field in fields(cls)])
        check_keys(f'{HUB_KEY}.feed', data['feed'], [field.name for field in fields(Feed)])
        for name in ('epoch', 'samples'):
            check_int(f'{HUB_KEY}.{name}', data[name], 0)
        for name in ('batch_size', 'num_processes'):
            check_int(f'{HUB_KEY}.feed.{name}', data['feed'][name], 1, _MOST)
        for name in ('dataset', 'sampler', 'batch_sampler'):
            check_class(f'{HUB_KEY}.feed.{name}', data['feed'][name], str)
        return cls(data['epoch'], data['samples'], Feed(**data['feed']))

    def check_reached(self, iterations: int, feed: Feed) -> None:
        """Raise ValueError if no training can reach this position in the given number of iterations.

        Samples of an endless sampler are skipped one by one, and as many as a damaged file states may take years.

        Args:
            iterations: Number of iterations of the checkpoint.
            feed: Feed with which the training continues.
        """
        check_int(f'{HUB_KEY}.epoch', self.epoch, 0, iterations)
        most = iterations * max(MOST_TIMES * feed.samples, MOST_SAMPLES)
        check_int(f'{HUB_KEY}.samples', self.samples, 0, most)


def describe_feed(loader: DataLoader, sampler_cfg: object) -> Feed:
    """Return the feed of a data loader whose batch sampler is a :class:`mmhybrid.engine.seeding.SeededBatchSampler`."""
    batches: Any = loader.batch_sampler
    return Feed(
        dataset=_describe_dataset(loader.dataset),
        sampler=_describe_sampler(batches.sampler, sampler_cfg),
        batch_sampler=type(batches.batches).__name__,
        batch_size=batches.batch_size,
        num_processes=get_world_size(),
    )


def _describe_sampler(sampler: object, cfg: object) -> str:
    """Return the class and the arguments of a sampler, defaults included, without the seed, which the loop sets."""
    parameters = inspect.signature(type(sampler)).parameters.values()
    defaults = {item.name: item.default for item in parameters if item.default is not item.empty}
    given = {name: value for name, value in cfg.items() if name != 'type'} if isinstance(cfg, Mapping) else {}
    arguments = {name: value for name, value in (defaults | given).items() if name not in ('seed', 'dataset')}
    return f'{type(sampler).__name__}({", ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()))})'


def _describe_dataset(dataset: Any) -> str:
    """Return class, size and a digest of the names of some samples, or of their labels if they have no names.

    The folder of a sample does not count, since data sets are moved.
    """
    text = f'{type(dataset).__name__} of {len(dataset)} samples'
    if not hasattr(dataset, 'get_data_info'):
        return text
    indices = sorted({number * (len(dataset) - 1) // (_PROBES - 1) for number in range(_PROBES)})
    infos = [dataset.get_data_info(index) for index in indices]
    names = [Path(info['img_path']).name if info.get('img_path') else repr(info.get('gt_label')) for info in infos]
    return f'{text} (digest {hashlib.sha256(repr(names).encode()).hexdigest()[:8]})'
