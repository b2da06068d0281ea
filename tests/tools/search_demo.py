"""A small search of its own data set: few images, a supernet with random weights."""

import json
from pathlib import Path
from typing import Any

import torch

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 6


def make_search(folder: Path) -> dict[str, str]:
    """Paths of a config that searches coarse to fine, with six evaluations, and of a checkpoint."""
    make_demo_data(folder / 'data', num_train=48, num_val=4, size=64, seed=0)
    config = folder / 'search.py'
    config.write_text(f"""
_base_ = [{str(ROOT / 'configs/demo/autovit_search.py')!r}]
root = {str(folder / 'data/imagenet')!r}
train_dataloader = dict(dataset=dict(data_root=root))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
test_dataloader = dict(dataset=dict(data_root=root))
search_cfg = dict(
    stages=dict(
        coarse=dict(sampler=dict(type='RandomSampler'), budget=20, population=20, rank_by=dict(name='macs_m')),
        fine=dict(sampler=dict(type='BlockEvolution'), budget={BUDGET}, population=3,
                  skeletons=dict(stage='coarse', count=3)),
    ),
    constraints=dict(_delete_=True, params_m=dict(max=0.5)),
    calibration=dict(num_images=4, dataset=dict(data_root=root)),
)
""")
    save_weights(str(config), folder / 'supernet.pth')
    return {'config': str(config), 'checkpoint': str(folder / 'supernet.pth'), 'folder': str(folder)}


def save_weights(config: str, path: Path) -> None:
    """Random weights for the model of a config."""
    import mmpretrain.models  # noqa: F401

    torch.manual_seed(0)
    cfg = load_config(config)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'})
    torch.save({'state_dict': model.state_dict()}, path)


def stored_candidates(journal: Path) -> list[dict[str, Any]]:
    """Genes, scores, estimates and place of each finished candidate in the order they were written.

    A line still being written is left out.
    """
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    records = (json.loads(line) for line in lines if line.endswith('\n'))
    return [
        {'params': record['params'], **record['user_attrs']['candidate']}
        for record in records
        if 'candidate' in record.get('user_attrs', {})
    ]
