"""Images that a search loads once: the scores of networks are those of images that are loaded for each of them."""

import gc
import logging
import os
import random
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import DATASETS, DefaultScope
from small_space import SPACE
from torch.utils.data import Dataset

from mmhybrid.engine.bn_calibration import calibration_batches
from mmhybrid.engine.kept_batches import ImageMemory, KeptBatches
from mmhybrid.engine.subnet_evaluator import SubnetEvaluator
from mmhybrid.models.one_shot import OneShot

SIZE = 64
MIB = 2**20


@DATASETS.register_module()
class LabelledNoise(Dataset):
    """Random images with samples; ``loaded`` counts how often each was asked for."""

    def __init__(self, count: int = 7, size: int = SIZE) -> None:
        self.loaded = [0] * count
        self.size = size

    def __len__(self) -> int:
        return len(self.loaded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmpretrain.structures import DataSample

        self.loaded[index] += 1
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, self.size, self.size), generator=generator, dtype=torch.uint8)
        return {'inputs': image, 'data_samples': DataSample(metainfo={'img_id': index}).set_gt_label(index % 5)}


class Bits(BaseMetric):
    """Everything that a metric sees, to the bit."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for image, sample, predicted in zip(
            data_batch['inputs'], data_batch['data_samples'], data_samples, strict=True
        ):
            given = sorted(sample.all_keys())
            scores = predicted['pred_score'].clone()
            self.seen.append((predicted['img_id'], given, sorted(predicted), image.clone(), scores, type(predicted)))
            self.results.append(float(scores.max()))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'score': sum(results), 'count': len(results)}


@pytest.fixture(scope='module')
def model() -> OneShot:
    import mmpretrain.models  # noqa: F401

    torch.manual_seed(0)
    architecture = {
        'type': 'ImageClassifier',
        'backbone': {'type': 'mmhybrid.Supernet', 'space': SPACE, 'backbone': {'type': 'mmhybrid.GLNet'}},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 64},
    }
    DefaultScope.get_instance('kept_batches', scope_name='mmpretrain')
    return OneShot(architecture, {'type': 'UniformMutator'}, data_preprocessor={'mean': [128] * 3, 'std': [64] * 3})


def judge(model: OneShot, keep_images_mb: int, size: int = SIZE) -> tuple[SubnetEvaluator, LabelledNoise, Bits]:
    dataset, metric = LabelledNoise(size=size), Bits()
    calibration = calibration_batches({'type': 'LabelledNoise', 'size': size}, 6, batch_size=4)
    return SubnetEvaluator(model, dataset, Evaluator(metric), calibration, 3, 0, keep_images_mb), dataset, metric


def same(one: Any, other: Any) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def three_networks(model: OneShot) -> Iterator[Any]:
    rng = random.Random(0)
    first, second = model.space.sample(rng), model.space.largest()
    return iter((first, second, first))


def test_scores_are_those_of_images_loaded_anew(model: OneShot) -> None:
    (kept, once, bits), (plain, thrice, expected) = judge(model, 16), judge(model, 0)
    for arch in three_networks(model):
        assert kept(arch) == plain(arch)
    assert once.loaded == [1] * 7
    assert thrice.loaded == [3] * 7
    assert len(bits.seen) == 21
    assert same(bits.seen, expected.seen)


def test_what_does_not_fit_is_loaded_anew(model: OneShot, caplog: pytest.LogCaptureFixture) -> None:
    size = 128  # a MiB has the six images to calibrate on, of 196,608 bytes in float32, and not seven more
    with caplog.at_level(logging.INFO):
        (kept, loaded, bits), (plain, _, expected) = judge(model, 2, size), judge(model, 0, size)
    preprocessed = []
    whole = model.data_preprocessor.forward
    model.data_preprocessor.forward = lambda *args: preprocessed.append(1) or whole(*args)
    try:
        for arch in three_networks(model):
            assert kept(arch) == plain(arch)
    finally:
        del model.data_preprocessor.forward
    assert loaded.loaded == [3] * 7
    assert len(preprocessed) == (2 + 3 * 3) + 3 * (2 + 3)  # batches: of the calibration once, and anew
    assert same(bits.seen, expected.seen)


def batches(*values: float) -> list[dict[str, Any]]:
    """Batches of an image of 1 MiB and a sample."""
    return [
        {'inputs': torch.full((MIB // 4,), float(value)), 'data_samples': [{'label': int(value)}]} for value in values
    ]


def values(made: KeptBatches) -> list[float]:
    return [float(batch['inputs'][0]) for batch in made]


def test_sets_share_the_memory() -> None:
    made: list[int] = []
    memory = ImageMemory(3)
    first, second = (
        KeptBatches(name, batches(*numbers), lambda batch: made.append(1) or batch, memory)
        for name, numbers in (('first', (1, 2)), ('second', (3, 4)))
    )
    for _ in range(2):
        assert values(first) == [1, 2]
        assert values(second) == [3, 4]
    assert len(made) == 2 + 2 * 2
    assert first.let_go()
    assert not first.let_go()
    assert memory.take(3 * MIB)
    assert not memory.take(1)


def test_a_pass_that_ends_half_way_keeps_nothing() -> None:
    memory = ImageMemory(2)
    made = KeptBatches('images', batches(1, 2), lambda batch: batch, memory)
    for _ in made:
        break
    assert memory.take(2 * MIB)
    memory.give_back(2 * MIB)
    assert values(made) == values(made) == [1, 2]
    assert not memory.take(1)


def test_memory_that_is_given_back_is_free() -> None:
    """While the pass goes on in which somebody wrote into an image."""
    made = KeptBatches('images', batches(1, 2, 3), lambda batch: batch, ImageMemory(3))
    one_pass = iter(made)
    first = weakref.ref(next(one_pass)['inputs'])
    gc.collect()
    assert first() is not None
    next(one_pass)['inputs'].zero_()
    next(one_pass)
    gc.collect()
    assert first() is None


def test_nobody_writes_into_what_is_kept() -> None:
    count: list[int] = []
    memory = ImageMemory(2)
    kept = KeptBatches('images', batches(1, 2), lambda b: count.append(1) or {**b, 'inputs': b['inputs'] * 1}, memory)
    for batch in kept:
        batch['data_samples'][0]['label'] = 7
    assert [batch['data_samples'][0]['label'] for batch in kept] == [1, 2]
    assert len(count) == 2
    for batch in kept:
        batch['inputs'].add_(1)
    assert values(kept) == [1, 2]  # loaded anew
    assert len(count) == 4
    assert memory.take(2 * MIB)


def test_a_device_that_is_full_gets_its_memory_back(model: OneShot, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, loaded, _ = judge(model, 16)
    plain, _, _ = judge(model, 0)
    arch = model.space.smallest()
    kept(arch)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if kept._calibration._kept or kept._judged._kept:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return OneShot.forward(model, *args, **kwargs)

    monkeypatch.setattr(model, 'forward', forward)
    assert kept(arch) == plain(arch)
    assert loaded.loaded == [2] * 7

    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(model, 'forward', full)
    with pytest.raises(RuntimeError, match='CUDA out of memory'):
        kept(arch)


@pytest.mark.parametrize('value', [-1, 0.5, '1', None])
def test_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r'keep_images_mb: got .*, allowed: an int >= 0'):
        ImageMemory(value)


@pytest.mark.skipif(not Path('/proc/self/fd').exists(), reason='counts open files as Linux names them')
def test_batches_of_workers_keep_no_files_open() -> None:
    """A tensor that a process sent is a file; with the usual limit of 1024, 512 images of calibration had no place."""
    before = len(os.listdir('/proc/self/fd'))
    kept = calibration_batches({'type': 'LabelledNoise', 'size': 8}, 7, batch_size=4, num_workers=1)
    assert len(os.listdir('/proc/self/fd')) - before < 7
    loader = torch.utils.data.DataLoader(LabelledNoise(size=8), 4, num_workers=1, collate_fn=pseudo_collate)
    judged = KeptBatches('images', loader, lambda batch: batch, ImageMemory(1))
    first, again = list(judged), list(judged)
    del first
    assert len(os.listdir('/proc/self/fd')) - before < 7
    assert len(kept) == len(again) == 2
