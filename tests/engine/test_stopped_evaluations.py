"""The evaluation of a network that racing may stop: its scores on all images, and on those before it stopped."""

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from mmengine.evaluator import Evaluator
from torch import nn
from torch.utils.data import Dataset

from mmhybrid.engine import subnet_evaluator
from mmhybrid.engine.subnet_evaluator import SubnetEvaluator
from mmhybrid.search import Racing
from mmhybrid.search.racing import IMAGES_SEEN, PARTS
from mmhybrid.space import Arch

NUM_IMAGES = 300
ANY = Arch({})


class Sorted(Dataset):
    """Images whose class is their only pixel, sorted by it, as folders of classes are; ``loaded`` has their places."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmpretrain.structures import DataSample

        self.loaded.append(index)
        label = index * 3 // NUM_IMAGES
        return {'inputs': torch.full((1, 1, 1), float(label)), 'data_samples': DataSample().set_gt_label(label)}


class FirstClass(nn.Module):
    """A network that takes all images for the first of three classes."""

    def set_arch(self, arch: Arch) -> None:
        """There is one."""

    def data_preprocessor(self, batch: dict, training: bool) -> dict:
        """Nothing is to be done."""
        return batch

    def forward(self, inputs: list[torch.Tensor], data_samples: list, mode: str) -> list:
        """Labels and scores."""
        return [sample.set_pred_label(0).set_pred_score(torch.eye(3)[0]) for sample in data_samples]


@pytest.fixture(autouse=True)
def without_calibration():
    with patch.object(subnet_evaluator, 'calibrated_on', lambda *_: nullcontext()):  # there are no norms
        yield


def judge(racing: Racing | None, batch_size: int = 7, num_workers: int = 0) -> tuple[SubnetEvaluator, Sorted]:
    import mmpretrain.evaluation  # noqa: F401

    dataset, evaluator = Sorted(), Evaluator({'type': 'mmpretrain.Accuracy', 'topk': (1, 2)})
    return SubnetEvaluator(FirstClass(), dataset, evaluator, [], batch_size, num_workers, 0, racing), dataset


RACING = Racing('accuracy/top1')


def test_without_a_floor_all_images_count():
    (plain, in_order), (racing, shuffled) = judge(None), judge(RACING)
    assert plain(ANY) == racing(ANY)
    assert plain(ANY)['accuracy/top1'] == pytest.approx(100 / 3)
    assert in_order.loaded[:NUM_IMAGES] == [*range(NUM_IMAGES)]
    assert shuffled.loaded != [*range(NUM_IMAGES)]
    assert sorted(shuffled.loaded) == [*range(NUM_IMAGES)]


@pytest.mark.parametrize('batch_size', [1, 7, 50, 299])
def test_a_bad_network_stops_after_a_part_of_the_images(batch_size):
    racing, dataset = judge(RACING, batch_size)
    metrics = racing(ANY, floor=90.0)
    seen = metrics[IMAGES_SEEN]
    assert seen == len(dataset.loaded) < NUM_IMAGES
    assert seen == batch_size or seen - batch_size < NUM_IMAGES // PARTS * (seen * PARTS // NUM_IMAGES)
    right = sum(place * 3 < NUM_IMAGES for place in dataset.loaded)
    assert metrics['accuracy/top1'] == pytest.approx(100 * right / seen)
    assert racing(ANY)['accuracy/top1'] == pytest.approx(100 / 3)  # nothing is left of the one before


def test_a_network_as_good_as_the_floor_goes_on():
    racing, _ = judge(RACING)
    assert racing(ANY, floor=100 / 3) == judge(None)[0](ANY)


def test_workers_go_on_with_the_next_network():
    racing, _ = judge(RACING, num_workers=1)
    assert racing(ANY, floor=90.0)[IMAGES_SEEN] < NUM_IMAGES
    assert racing(ANY)['accuracy/top1'] == pytest.approx(100 / 3)


def test_a_metric_that_is_not_measured_is_named():
    racing, _ = judge(Racing('accuracy/top5'))
    with pytest.raises(RuntimeError, match=r"racing\.metric: got 'accuracy/top5', allowed: one of"):
        racing(ANY, floor=90.0)
