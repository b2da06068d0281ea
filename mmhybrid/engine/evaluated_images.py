"""Part of a data set, judged by metrics whose annotation file names all of it."""

from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner


class EvaluatedImages(Hook):
    """Lets every validation and test count the images of its data set and no others, see :func:`count_only`."""

    def before_val(self, runner: Runner) -> None:
        """Restrict the metrics of the validation."""
        count_only(runner.val_dataloader.dataset, runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Restrict the metrics of the test."""
        count_only(runner.test_dataloader.dataset, runner.test_evaluator)


def count_only(dataset: Any, evaluator: Evaluator) -> None:
    """Let metrics with an annotation file of their own count the images of ``dataset`` alone.

    MMDetection's CocoMetric, and those of LVIS and of open vocabularies, count every image of the file: with
    ``indices`` or any other subset the images that were never shown are as many misses, and the score is a fraction of
    the true one.
    """
    for metric in evaluator.metrics:
        file = getattr(metric, '_coco_api', None) or getattr(metric, '_lvis_api', None)
        if file is not None and hasattr(metric, 'img_ids'):  # None until the first evaluation, then all of the file
            metric.img_ids = list(dict.fromkeys(dataset.get_data_info(i)['img_id'] for i in range(len(dataset))))
