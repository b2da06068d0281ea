"""What a training is refused for before anything is built."""

import pytest
from mmengine.config import Config

from mmhybrid.apis import training

SUPERNET = {'optim_wrapper': {'accumulative_counts': 4}, 'find_unused_parameters': True}


class Began(Exception):
    pass


def begin(monkeypatch: pytest.MonkeyPatch, torch: tuple[int, int], num_ranks: int, cfg: dict) -> None:
    def check_annotation_files(*args: object) -> None:
        raise Began

    monkeypatch.setattr(training, 'TORCH', torch)
    monkeypatch.setattr(training, 'get_world_size', lambda: num_ranks)
    monkeypatch.setattr(training, 'check_annotation_files', check_annotation_files)
    training.train(Config(cfg))


@pytest.mark.parametrize(
    ('torch', 'num_ranks', 'cfg'),
    [
        ((2, 4), 2, SUPERNET),
        ((2, 1), 1, SUPERNET),
        ((2, 1), 2, {**SUPERNET, 'find_unused_parameters': False}),
        ((2, 1), 2, {**SUPERNET, 'optim_wrapper': {}}),
    ],
)
def test_ranks_accumulate_gradients(monkeypatch, torch, num_ranks, cfg):
    with pytest.raises(Began):
        begin(monkeypatch, torch, num_ranks, cfg)


def test_ranks_do_not_accumulate_where_torch_lets_them_drift_apart(monkeypatch):
    with pytest.raises(ValueError, match=r'accumulative_counts: got 4, allowed: 1 on several ranks .* 2.4'):
        begin(monkeypatch, (2, 3), 2, SUPERNET)
