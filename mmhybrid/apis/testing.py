"""Evaluation of a checkpoint or an exported file with a config's data and metrics."""

from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults

from mmhybrid.apis.annotation_files import TEST, check_annotation_files
from mmhybrid.apis.configs import drop_links_of_runner
from mmhybrid.apis.runtimes import ExportedNetwork
from mmhybrid.apis.scoring import check_fits, put_into
from mmhybrid.apis.weights import load_weights
from mmhybrid.engine.evaluated_images import EvaluatedImages
from mmhybrid.engine.phase import Phase
from mmhybrid.engine.ranks import UntrainedRunner, join_ranks
from mmhybrid.models.checkpoints import read_checkpoint

# keys of a detector's images, including those that undo a flip
_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


def evaluate(
    cfg: Config, out: str | None = None, phase: Phase | None = None, network: ExportedNetwork | None = None
) -> dict[str, float]:
    """Evaluate ``cfg.load_from``, which has to fit the model exactly, or an exported file.

    Args:
        cfg: Config of an evaluation.
        out: Path of a .pkl file for the predictions.
        phase: Hook that records when everything is built; for the tools.
        network: Exported network to evaluate in place of a checkpoint.

    Returns:
        The metrics.

    Raises:
        ValueError: If the config, the checkpoint or the file is wrong. Errors of OpenMMLab are not
            converted.
    """
    join_ranks(cfg)
    check_annotation_files(cfg, TEST)
    cfg.resume = False  # a config may resume its training, but is only evaluated here
    drop_links_of_runner(cfg)
    runner = UntrainedRunner.from_cfg(cfg)
    if network is None:
        load_weights(runner.model, read_checkpoint(cfg.load_from), cfg.load_from)
    else:
        check_fits(network, cfg)
        put_into(runner.model, network)
    if out is not None:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
    runner.register_hook(EvaluatedImages())
    runner.register_hook(phase or Phase())
    return dict(runner.test())


def enable_tta(cfg: Config) -> None:
    """Evaluate each image in several versions, and merge the predictions (test-time augmentation).

    ``tta_model`` and ``tta_pipeline`` of the config define the versions and the merging. Without them, an image and its
    mirror image are merged: by the mean of the scores (classifiers, segmentors), or by non-maximum suppression over the
    boxes of both (detectors).

    Raises:
        ValueError: If the config lacks both and its task has no default, if it has no test pipeline, or for masks,
            which MMDetection does not merge.
    """
    scope = cfg.get('default_scope')
    models: dict[str, dict[str, Any]] = {
        'mmpretrain': {'type': 'mmpretrain.AverageClsScoreTTA'},
        # MMDetection registers it in MMEngine's root registry
        'mmdet': {'type': 'DetTTAModel', 'tta_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 100}},
        'mmseg': {'type': 'mmseg.SegTTAModel'},
    }
    tta_model: Any = cfg.get('tta_model') or models.get(scope or '')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if not dataset.get('pipeline'):
        raise ValueError('--tta: the config has no test pipeline')
    if tta_model is None or (not cfg.get('tta_pipeline') and scope not in models):
        raise ValueError('--tta: the config lacks tta_model and tta_pipeline')
    if scope == 'mmdet' and (cfg.model.get('roi_head') or {}).get('mask_head'):
        raise ValueError('--tta: MMDetection merges boxes, not the masks of this model')
    if not cfg.get('tta_pipeline'):
        *steps, pack = dataset['pipeline']
        if scope == 'mmdet':
            pack = {'type': 'PackDetInputs', 'meta_keys': _META_KEYS}
        # the labels of the first version, the unchanged image, are used for all
        flips = [{'type': 'RandomFlip', 'prob': prob, 'direction': 'horizontal'} for prob in (0.0, 1.0)]
        dataset['pipeline'] = [*steps, {'type': 'TestTimeAug', 'transforms': [flips, [pack]]}]
    else:
        dataset['pipeline'] = cfg.tta_pipeline
    module = dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        module.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model = ConfigDict(**tta_model, module=module)
