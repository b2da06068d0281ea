"""GLNet-4G on ImageNet-1k with token labelling, 310 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/glnet_4g_token-label_in1k.py 16``, after
``python tools/make_label_maps.py CONFIG CHECKPOINT data/imagenet/train data/imagenet/label_maps`` (published teacher:
NFNet-F6; LV-ViT's published maps of it have the same format)
Source: GLNet, Tables 3 and 9 and appendix B; LV-ViT.
Published: 84.4 % top-1 with half of the maximal token logit added, 27 M parameters, 4.5 G FLOPs.
Evaluation without the token logits: ``--cfg-options model.head.aux_weight=0``.
Table 9 lists mixup 0.8 and CutMix 1.0. The released code switches both off and mixes tokens, uses neither repeated
augmentation nor EMA here, draws bilinear or bicubic interpolation, has timm's schedule, and evaluates at crop ratio
0.96; so does this config. One thing is mended: the released box of a crop has its axes exchanged, so that targets are
not those of the crop; here they are. The released code trains in mixed precision: add ``--amp``.
"""

_base_ = [
    '../_base_/datasets/imagenet_224_label_maps.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

model = dict(
    type='mmhybrid.TokenLabelClassifier',
    backbone=dict(type='mmhybrid.GLNet', arch='4g', drop_path_rate=0.1),
    head=dict(type='mmhybrid.TokenLabelHead', num_classes=1000, in_channels=512),
    mix_token=dict(alpha=1.0),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    clip_grad=dict(max_norm=5.0),
    # timm's rule, of the released command, spares what has fewer than two dimensions
    paramwise_cfg=dict(custom_keys={'slots.scale': dict(decay_mult=0.0)}),
)
# timm's, as released: in steps of an epoch, one of them late, and the cosine begins with the training
param_scheduler = [
    dict(type='ConstantLR', factor=5e-4, by_epoch=True, end=2),
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, begin=1, end=7),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, T_max=310),
]
train_cfg = dict(max_epochs=310)
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))
auto_scale_lr = dict(base_batch_size=2048)
