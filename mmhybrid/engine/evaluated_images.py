"""Part of a data set, judged by metrics whose annotation file names all of it."""

from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhybrid.utils.checks import bad_value


class EvaluatedImages(Hook):
    """Lets every validation and test count the images of its data set and no others, see :func:`count_only`."""

    priority = 'HIGHEST'  # a metric that cannot is refused before a training of hours

    def before_train(self, runner: Runner) -> None:
        """Restrict the metrics of the validations to come."""
        if runner.val_loop is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Restrict the metrics of the validation."""
        count_only(runner.val_dataloader.dataset, runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Restrict the metrics of the test."""
        count_only(runner.test_dataloader.dataset, runner.test_evaluator)


def count_only(dataset: Any, evaluator: Evaluator) -> None:
    """Let metrics with an annotation file of their own count the images of ``dataset`` alone.

    MMDetection's CocoMetric and LVISMetric count every image of the file: with ``indices`` or any other subset the
    images that were never shown are as many misses, and the score is a fraction of the true one.

    Raises:
        ValueError: For LVIS, if the file has other images too: its API cannot leave images out.
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
        metric.img_ids = counted  # None until the first evaluation, then all of the file
