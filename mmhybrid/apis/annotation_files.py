"""Checks of the annotation files in a config, before anything that reads them is built."""

import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, Registry

from mmhybrid.datasets.coco_annotations import check_annotations

TRAINING = ('train_dataloader', 'val_dataloader', 'val_evaluator')
TEST = ('test_dataloader', 'test_evaluator')
SEARCH = ('val_dataloader', 'val_evaluator', 'test_dataloader', 'search_cfg')
# Classes that read COCO's format, and classes derived from them that read another format (panoptic segmentation, LVIS).
READERS = {'CocoDataset', 'CocoMetric'}
OTHERS = {'CocoPanopticDataset', 'LVISV05Dataset', 'LVISMetric'}


def check_annotation_files(cfg: Config, sections: tuple[str, ...]) -> None:
    """Raise ValueError for an inconsistent file in COCO's format that MMDetection would read.

    MMDetection passes the content of such a file to pycocotools, which it may crash. Files that do not exist, or are
    not on this machine, are not checked here; the code that reads them reports them.

    Args:
        cfg: A config.
        sections: Names of the sections that are about to be built.
    """
    needed: dict[str, set[str]] = {}
    for name in sections:
        for component in _components(cfg.get(name)):
            if isinstance(file := component.get('ann_file'), str) and file:
                is_metric = name.endswith('_evaluator')
                if not _reads_coco(METRICS if is_metric else DATASETS, component['type'], cfg.get('default_scope')):
                    continue
                path = os.path.join(component.get('data_root') or '', file)
                keys = needed.setdefault(os.path.realpath(path), set())
                if is_metric:
                    keys.add('iscrowd')
                    if 'segm' in component.get('metric', 'bbox'):
                        keys.add('segmentation')
    for path, keys in needed.items():
        if Path(path).exists():
            check_annotations(path, keys)


def _components(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all dicts with a type, at any depth, since data sets may be within wrappers."""
    if isinstance(content, Mapping):
        if 'type' in content:
            yield content
        content = list(content.values())
    if isinstance(content, list | tuple):
        for item in content:
            yield from _components(item)


def _reads_coco(registry: Registry, kind: Any, scope: str | None) -> bool:
    """Return whether a component is a class of MMDetection, or derived from one, that reads COCO's format."""
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(scope) as found:
            kind = found.get(kind)
    names = {base.__name__ for base in getattr(kind, '__mro__', ())}
    return bool(names & READERS) and not names & OTHERS
