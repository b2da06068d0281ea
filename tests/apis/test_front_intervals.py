"""Intervals of a front's box AP: what is judged, what is told and written, and the page that shows it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import VISUALIZERS

from mmhybrid.apis import front_intervals
from mmhybrid.apis.front_intervals import box_intervals, check_counts_boxes
from mmhybrid.search.intervals import FrontIntervals, ScoreInterval

CONFIG = """
model = dict(type='Anything')
val_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat',))))
val_evaluator = dict(type='CocoMetric', metric='bbox', ann_file={annotations!r})
visualizer = dict(type='Visualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
BOX = [10.0, 10.0, 20.0, 20.0]


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """An object in each of 100 images."""
    images = [{'id': i, 'file_name': f'{i}.jpg', 'height': 64, 'width': 64} for i in range(1, 101)]
    objects = [
        {'id': i, 'image_id': i, 'category_id': 1, 'bbox': BOX, 'area': 400, 'iscrowd': 0} for i in range(1, 101)
    ]
    path = tmp_path / 'objects.json'
    content = {'images': images, 'annotations': objects, 'categories': [{'id': 1, 'name': 'cat'}]}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def front(annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Networks that find the objects of the first 90, 50, 48 and none of the images."""
    counts = {'net_a': 90, 'net_b': 50, 'net_c': 48, 'net_d': 0}
    for name in counts:
        (tmp_path / f'{name}.py').write_text(CONFIG.format(annotations=str(annotations)))

    def evaluate(cfg: Config) -> dict[str, float]:
        assert cfg.test_evaluator.ann_file == str(annotations)
        assert cfg.test_dataloader == cfg.val_dataloader
        count = counts[Path(cfg.load_from).stem]
        # as a runner does at its start, of which there is one for each network
        VISUALIZERS.build({'save_dir': cfg.work_dir, **cfg.visualizer}).add_config(cfg)
        found: list[dict[str, Any]] = [
            {'image_id': i, 'category_id': 1, 'bbox': BOX, 'score': 0.9} for i in range(1, count + 1)
        ]
        Path(f'{cfg.test_evaluator.outfile_prefix}.bbox.json').write_text(json.dumps(found))
        return {}

    monkeypatch.setattr(front_intervals, 'evaluate', evaluate)
    return [tmp_path / f'{name}.py' for name in counts]


def test_intervals_are_those_of_a_share_of_images(front: list[Path]) -> None:
    """Where whatever is found is right, AP is the share of objects that are found, rounded up to COCO's recalls."""
    found = box_intervals(front[:3], draws=400)
    assert (found.metric, found.num_images, found.draws) == ('coco/bbox_mAP', 100, 400)
    for network, share in zip(found.networks, (0.9, 0.5, 0.48), strict=True):
        assert network.score == pytest.approx(share, abs=0.011)
        half = 1.96 * np.sqrt(share * (1 - share) / 100)  # of a binomial share
        assert network.low == pytest.approx(share - half, abs=0.03)
        assert network.high == pytest.approx(share + half, abs=0.03)
    first, second, third = found.networks
    assert first.is_above_next
    assert first.lead_low == pytest.approx(0.4 - 1.96 * np.sqrt(0.4 * 0.6 / 100), abs=0.03)  # differ in 40 images
    assert second.lead_low == pytest.approx(0.0, abs=0.011)  # two images of a hundred
    assert not second.is_above_next
    assert (third.lead_low, third.lead_high) == (0.0, 0.0)
    told = found.told()
    assert 'net_a: coco/bbox_mAP 0.9' in told[0]
    assert '; above net_b (+0.3' in told[0]
    assert '; not significantly above net_c (' in told[1]
    assert told[2].startswith('net_c: ')
    assert ';' not in told[2]


def test_a_file_of_them_is_read_back(front: list[Path], tmp_path: Path) -> None:
    found = box_intervals(front[:2], draws=5)
    path = found.write(tmp_path)
    assert FrontIntervals.read(path) == found
    content = json.loads(path.read_text())
    for change, message in (
        ({'metric': 'a\nb'}, 'metric: got'),
        ({'draws': 0}, 'draws: got 0'),
        ({'networks': [{'name': 'net_a'}]}, r'networks\[0\]: missing high'),
        ({'networks': [{**content['networks'][0], 'score': 2}]}, r'networks\[0\].score: got 2'),
        ({'networks': [{**content['networks'][0], 'name': '../a'}]}, r'networks\[0\].name: got'),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(ValueError, match=message):
            FrontIntervals.read(path)


def test_mistakes_are_told(front: list[Path], annotations: Path) -> None:
    with pytest.raises(ValueError, match=r'net_d\.py: the network detects nothing'):
        box_intervals(front, draws=2)
    with pytest.raises(ValueError, match='configs: got'):
        box_intervals([])
    good = {'type': 'CocoMetric', 'metric': 'bbox', 'ann_file': str(annotations)}
    check_counts_boxes(Config({'val_evaluator': good}))
    for wrong in ({'type': 'Accuracy'}, {**good, 'metric': ['bbox', 'segm']}, [good], None):
        with pytest.raises(ValueError, match=r'--intervals: val_evaluator: got'):
            check_counts_boxes(Config({'val_evaluator': wrong}))
    with pytest.raises(ValueError, match='ann_file: got None'):
        check_counts_boxes(Config({'val_evaluator': {**good, 'ann_file': None}}))


def test_a_network_without_a_lead_is_not_above() -> None:
    assert not ScoreInterval('a', 0.5, 0.4, 0.6).is_above_next
    assert ScoreInterval('a', 0.5, 0.4, 0.6, 0.01, 0.2).is_above_next
