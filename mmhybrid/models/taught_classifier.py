"""A classifier that learns from a teacher in addition to the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmpretrain.models import ImageClassifier
from torch import Tensor

from mmhybrid.models.distillation import Distillation, LogitsHead, Outputs, captured
from mmhybrid.models.teachers import Lesson, Normalisation
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value

HEAD = 'head of logits'


@MODELS.register_module()
class TaughtClassifier(ImageClassifier):
    """MMPretrain's ``ImageClassifier`` that also learns a teacher's logits; its weights have the same names.

    Arguments other than ``teacher`` and ``distillation`` are those of ``ImageClassifier``.

    Args:
        backbone: Config of the backbone.
        teacher: Config of the teacher, see :class:`Lesson`.
        distillation: Arguments of :class:`Distillation`, without ``features``, since only logits are compared.
        neck: Config of the neck.
        head: Config of the head, whose logits are compared with the teacher's.
        pretrained: Path of a checkpoint of the whole model.
        train_cfg: Config of the training; its ``augments`` mix images, and the teacher sees the mixed images too.
        data_preprocessor: Config of the data preprocessor, which must be of MMPretrain or MMEngine.
        init_cfg: Initialisation config of MMEngine.

    Raises:
        ValueError: If an argument is wrong, or teacher and student have different numbers of classes.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        teacher: Mapping[str, Any],
        distillation: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        train_cfg: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, neck, head, pretrained, train_cfg, data_preprocessor, init_cfg)
        self.distillation = Distillation(**distillation)
        if self.distillation.features:
            raise bad_value('distillation.features', self.distillation.features, 'None, with a teacher')
        self.distillation.check_model(self)
        # the tuple keeps torch from registering the teacher's weights as part of this model
        self._lesson = (Lesson(teacher, 'logits', self.data_preprocessor),)
        if self.lesson.width != self.head.num_classes:
            allowed = f'the {self.head.num_classes} of the student'
            raise bad_value('number of classes of the teacher', self.lesson.width, allowed)

    @property
    def lesson(self) -> Lesson:
        """The teacher and what the student learns from it."""
        return self._lesson[0]

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Any]:
        """Return the losses of the labels and of the teacher."""
        head = LogitsHead.of(self)
        assert head is not None
        with captured({HEAD: head.head}) as found:
            losses = super().loss(inputs, data_samples)
        taught = self.lesson.of(Normalisation.of(self.data_preprocessor).undo(inputs), data_samples)
        return self.distillation.joined(losses, Outputs(head.read(found[HEAD])), Outputs([taught]), head)
