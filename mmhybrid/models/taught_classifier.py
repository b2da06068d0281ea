"""A classifier that learns from a teacher beside the labels."""

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
    """MMPretrain's ``ImageClassifier`` that learns a teacher's logits; its weights have the names of one that does not.

    Args:
        backbone: As for ``ImageClassifier``.
        teacher: Arguments of :class:`Lesson`.
        distillation: Arguments of :class:`Distillation`; it compares logits alone.
        neck: As for ``ImageClassifier``, and so are the others.
        head: Whose logits are compared.
        pretrained: Checkpoint of the whole model.
        train_cfg: With ``augments``, what mixes images; the teacher sees them mixed too.
        data_preprocessor: Whose normalisation is known.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If an argument is wrong, or teacher and student disagree on the classes.
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
        # in a tuple, so that its weights are no part of this model
        self._lesson = (Lesson(teacher, 'logits', self.data_preprocessor),)
        if self.lesson.width != self.head.num_classes:
            allowed = f'the {self.head.num_classes} of the student'
            raise bad_value('number of classes of the teacher', self.lesson.width, allowed)

    @property
    def lesson(self) -> Lesson:
        """What it learns of its teacher."""
        return self._lesson[0]

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Any]:
        """Losses of the labels and of the teacher."""
        head = LogitsHead.of(self)
        assert head is not None
        with captured({HEAD: head.head}) as found:
            losses = super().loss(inputs, data_samples)
        taught = self.lesson.of(Normalisation.of(self.data_preprocessor).undo(inputs), data_samples)
        return self.distillation.joined(losses, Outputs(head.read(found[HEAD])), Outputs([taught]), head)
