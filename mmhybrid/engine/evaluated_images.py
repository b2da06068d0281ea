"""Evaluation on part of a data set, by metrics whose annotation file lists all of it."""

from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhybrid.utils.checks import bad_value


class EvaluatedImages(Hook):
    """Makes every validation and test count only the images of its data set, see :func:`count_only`."""

    priority = 'HIGHEST'  # refuses an unsuitable metric before a training of hours

    def before_train(self, runner: Runner) -> None:
        """Restrict the metrics of later validations."""
        if runner.val_loop is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Restrict the metrics of the validation."""
        count_only(runner.val_dataloader.dataset, runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Restrict the metrics of the test."""
        count_only(runner.test_dataloader.dataset, runner.test_evaluator)


def count_only(dataset: Any, evaluator: Evaluator) -> None:
    """Restrict metrics with an annotation file of their own to the images of ``dataset``.

    MMDetection's CocoMetric and LVISMetric count every image of the file. With ``indices`` or any other subset, images
    that were never shown would count as missed, and the score would be a fraction of the true one.

    Raises:
        ValueError: For LVIS, if the file has other images too, since its API cannot leave images out.
    """
    for metric in evaluator.metrics:
        lvis = getattr(metric, '_lvis_api', None)
        file = lvis or getattr(metric, '_coco_api', None)
        if file is None or not hasattr(metric, 'img_ids'):
            continue
        shown = {dataset.get_data_info(i)['img_id'] for i in range(len(dataset))}
        counted = [image for image in file.get_img_ids() if image in shown]
        if lvis is not None and (missing := len(file.get_img_ids()) - len(counted)):
            allowed = (
                f'an annotation file of the {len(shown)} images of the data set: LVIS would count the others as missed'
            )
            raise bad_value(f'ann_file of {type(metric).__name__}', f'{missing} other images', allowed)
        metric.img_ids = counted  # None before the first evaluation, all images of the file after it
