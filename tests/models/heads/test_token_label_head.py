"""The head's losses and predictions against closed forms, and the classifier that mixes tokens."""

import math

import pytest
import torch
from layouts import GradientProbe, assert_contiguous
from mmengine.structures import BaseDataElement

from mmhybrid.models.heads import TokenLabelHead
from mmhybrid.models.mix_token import MixToken, Region, swap_region
from mmhybrid.registry import MODELS

BACKBONE = {
    'type': 'mmhybrid.GLNet',
    'arch': {
        'embed_dims': [32, 32, 32, 32],
        'depths': [1, 1, 1, 1],
        'ffn_ratios': [1, 1, 1, 1],
        'mixers': ['local', 'local', 'local', 'local'],
        'overlapped_patches': True,
    },
}


def label_map_of(classes, logit=20.0):
    """One class at each position, (2, 1, H, W)."""
    classes = torch.tensor(classes, dtype=torch.half)
    return torch.stack((torch.full_like(classes, logit), classes))[:, None]


def sample(classes, logit=20.0):
    element = BaseDataElement()
    element.set_field(label_map_of(classes, logit), 'label_map')
    element.set_field((0.0, 0.0, 1.0, 1.0), 'label_map_box')
    return element


def head(**kwargs):
    torch.manual_seed(0)
    return TokenLabelHead(num_classes=4, in_channels=8, **kwargs)


def test_logits_by_hand():
    x = torch.randn(2, 8, 3, 3)
    model = head()
    class_logits = x.mean((2, 3)) @ model.fc.weight.T + model.fc.bias
    token_logits = torch.einsum('bchw,kc->bkhw', x, model.aux_fc.weight) + model.aux_fc.bias[:, None, None]
    maximal = token_logits.flatten(2).max(2).values
    assert torch.allclose(model((x,)), class_logits + 0.5 * maximal, atol=1e-6)
    model.aux_weight = 0.0
    assert torch.allclose(model((x,)), class_logits, atol=1e-6)


def test_what_the_head_returns_is_contiguous():
    model = head()
    x = torch.randn(2, 8, 3, 3)
    for feats in (x, x.to(memory_format=torch.channels_last)):
        assert_contiguous((model((feats,)), model.class_logits(feats), model.token_logits(feats)))
        assert_contiguous([sample.pred_score for sample in model.predict((feats,))])
    handed = []
    model((GradientProbe.apply(x.requires_grad_(), handed),)).square().sum().backward()
    model.loss((GradientProbe.apply(x, handed),), [sample([[0, 1], [2, 3]])] * 2)['loss_token'].backward()
    assert_contiguous(handed)


def test_losses_of_even_logits_are_those_of_chance():
    """Whatever the targets, logits without a preference cost log(classes), and the positions count half."""
    model = head()
    for layer in (model.fc, model.aux_fc):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    losses = model.loss((torch.randn(2, 8, 2, 2),), [sample([[0, 1], [2, 3]]), sample([[1, 1], [2, 0]])])
    assert losses['loss_cls'].item() == pytest.approx(math.log(4))
    assert losses['loss_token'].item() == pytest.approx(0.5 * math.log(4))


def test_losses_by_hand():
    smooth = 0.1
    model, x, classes = head(label_smooth_val=smooth, dense_weight=0.25), torch.randn(1, 8, 2, 2), [[0, 1], [3, 3]]
    losses = model.loss((x,), [sample(classes, logit=2.0)])
    logits = torch.zeros(4, 2, 2)
    for i in range(2):
        for j in range(2):
            logits[classes[i][j], i, j] = 2.0
    cells = logits.softmax(0) * (1 - smooth) + smooth / 4
    whole = logits.mean((1, 2)).softmax(0) * (1 - smooth) + smooth / 4
    tokens = model.token_logits(x)[0].log_softmax(0)
    assert losses['loss_token'].item() == pytest.approx(-0.25 * (cells * tokens).sum().item() / 4, rel=1e-5)
    expected = -(whole * model.class_logits(x)[0].log_softmax(0)).sum().item()
    assert losses['loss_cls'].item() == pytest.approx(expected, rel=1e-5)


def test_mixed_tokens_meet_their_own_targets():
    """A head that reads the class off a token has the loss of the unmixed batch, on mixed tokens too."""
    model = TokenLabelHead(num_classes=4, in_channels=4, label_smooth_val=0.0)
    model.aux_fc.weight.data = 30 * torch.eye(4)
    classes = torch.tensor([[[0, 1], [2, 3]], [[3, 3], [0, 0]]])
    tokens = torch.nn.functional.one_hot(classes, 4).permute(0, 3, 1, 2).float()
    samples = [sample(grid.tolist()) for grid in classes]
    region = Region(0, 0, 1, 2)
    mixed = swap_region(tokens, region)
    plain = model.loss((tokens,), samples)['loss_token']
    assert plain < 1e-3
    told = model.loss((mixed,), samples, region)['loss_token']
    assert told.item() == pytest.approx(plain.item(), abs=1e-6)
    assert model.loss((mixed,), samples)['loss_token'] > 1


def test_class_target_is_mixed_by_the_share():
    model, x = head(label_smooth_val=0.0), torch.randn(2, 8, 2, 2)
    samples = [sample([[0, 0], [0, 0]]), sample([[3, 3], [3, 3]])]
    loss = model.loss((x,), samples, Region(0, 0, 1, 1))['loss_cls']
    log = model.class_logits(x).log_softmax(1)
    expected = -(0.75 * (log[0, 0] + log[1, 3]) + 0.25 * (log[0, 3] + log[1, 0])) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_no_label_map():
    with pytest.raises(ValueError, match='LoadLabelMap'):
        head().loss((torch.randn(1, 8, 2, 2),), [BaseDataElement()])


def test_classes_that_the_head_does_not_have():
    with pytest.raises(ValueError, match='class of a label map: got 4, allowed: less than num_classes of the head, 4'):
        head().loss((torch.randn(1, 8, 2, 2),), [sample([[0, 1], [4, 3]])])


def test_wrong_arguments():
    for name, value in (('dense_weight', -1), ('label_smooth_val', 1.5), ('aux_weight', '1'), ('num_classes', 0)):
        with pytest.raises(ValueError, match=name):
            TokenLabelHead(**{'num_classes': 4, 'in_channels': 8, name: value})


def classifier(**kwargs):
    torch.manual_seed(0)
    return MODELS.build({
        'type': 'mmhybrid.TokenLabelClassifier',
        'backbone': BACKBONE,
        'head': {'type': 'mmhybrid.TokenLabelHead', 'num_classes': 4, 'in_channels': 32},
        **kwargs,
    })  # fmt: skip


def test_classifier_exchanges_what_the_head_is_told():
    """Images mixed on the stem's grid: the region of the loss is that of the stem's output."""
    model, images = classifier(mix_token={'alpha': 1.0, 'seed': 5}).train(), torch.randn(4, 3, 224, 224)
    stems, regions = [], []
    model.backbone.stages[0][0].register_forward_pre_hook(lambda _module, args: stems.append(args[0].detach()))
    original = model.head.loss
    model.head.loss = lambda feats, samples, region: regions.append(region) or original(feats, samples, region)
    samples = [sample([[i % 4] * 7] * 7) for i in range(4)]
    losses = model(images, samples, mode='loss')
    (region,) = regions
    assert region == MixToken(1.0, 5).region(7, 7, 0, 0)
    assert region.area > 0
    plain = model.backbone.downsamplers[0](images).detach()
    assert torch.allclose(stems[0], swap_region(plain, region.scaled(8)), atol=1e-5)
    assert set(losses) == {'loss_cls', 'loss_token'}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_tokens_are_mixed_where_the_grids_agree():
    """A last map of which a cell is more than 8 x 8 of the stem's cannot be told what was mixed."""
    images, samples = torch.randn(2, 3, 64, 80), [sample([[0, 1, 2], [3, 0, 1]])] * 2
    with pytest.raises(ValueError, match=r'size of the images: got \(64, 80\), allowed: multiples of 32'):
        classifier(mix_token={})(images, samples, mode='loss')
    assert classifier()(images, samples, mode='loss')['loss_token'] > 0


def test_classifier_mixes_in_training_only_and_has_an_image_classifier_s_names():
    model = classifier(mix_token={}).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        feats = model.backbone(images)
        assert torch.equal(model(images), model.head(feats))
    plain = MODELS.build({
        '_scope_': 'mmpretrain',
        'type': 'ImageClassifier',
        'backbone': BACKBONE,
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 4, 'in_channels': 32},
    })  # fmt: skip
    extra = set(model.state_dict()) - set(plain.state_dict())
    assert extra == {'head.aux_fc.weight', 'head.aux_fc.bias'}


def test_predictions_are_data_samples():
    model = classifier().eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        predictions = model(images, mode='predict')
        scores = model(images).softmax(1)
    for prediction, score in zip(predictions, scores, strict=True):
        assert torch.equal(prediction.pred_score, score)
        assert prediction.pred_label.item() == score.argmax().item()
