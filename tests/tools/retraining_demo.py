"""A search that is over: a few images, a supernet with random weights, and networks with invented scores."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from search_demo import ROOT, save_weights

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.search import Searcher, StudyStorage
from mmhybrid.search.config import build_settings

EVALUATED = 6
CONFIG = """
_base_ = [{base!r}]
root = {root!r}
loader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
space = dict(
    table=dict(
        _delete_=True, stem_widths=[8], conv_widths=[[8], [8], [16]], conv_depths=[[1], [1], [1]], num_stages=[3],
        widths=[[16, 24], [24, 32], [32, 48]], num_heads=[2, 4], depths=[1, 2], resolutions=[64],
    )
)
model = dict(architecture=dict(backbone=dict(space=space), head=dict(in_channels=192)))
search_cfg = dict(
    stages=dict(_delete_=True, random=dict(sampler=dict(type='RandomSampler'), budget={budget}, population={budget})),
    constraints=dict(_delete_=True),
    calibration=dict(num_images=4, dataset=dict(data_root=root)),
)
train_cfg = dict(max_epochs=2)
default_hooks = dict(checkpoint=dict(interval=1))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', by_epoch=True, end=2, convert_to_iter_based=True
)
"""


def invented(arch: Mapping[str, Any]) -> float:
    """A score from 0 to 100 that only the arch decides."""
    genes = sorted((name, float(value)) for name, value in arch.items())
    return int(hashlib.sha256(repr(genes).encode()).hexdigest()[:8], 16) / 2**32 * 100


def make_finished_search(folder: Path) -> list[str]:
    """The arguments that name its config, its supernet and its work directory."""
    make_demo_data(folder / 'data', num_train=32, num_val=4, size=64, seed=0)
    config = folder / 'search.py'
    base = str(ROOT / 'configs/demo/autovit_search.py')
    config.write_text(CONFIG.format(base=base, root=str(folder / 'data/imagenet'), budget=EVALUATED))
    save_weights(str(config), folder / 'supernet.pth')
    cfg = load_config(str(config)).to_dict()
    space = SEARCH_SPACES.build(cfg['model']['architecture']['backbone']['space'])
    chosen = {name: cfg['search_cfg'][name] for name in ('stages', 'objectives', 'constraints')}
    settings = build_settings({'space': space, **chosen})
    storage = StudyStorage(folder / 'work/search.journal', settings)
    searcher = Searcher(
        settings, lambda arch: {'macs_m': float(len(arch))}, lambda arch: {'accuracy/top1': invented(arch)}, storage
    )
    searcher.run()
    return [str(config), '--checkpoint', str(folder / 'supernet.pth'), '--work-dir', str(folder / 'work')]


def unformatted() -> AbstractContextManager[Any]:
    """Spares a rank's process, which has not read conftest.py, the formatting of each runner's configs."""
    return patch('mmengine.config.config.FormatCode', lambda text, **options: (text, True), create=True)


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())
