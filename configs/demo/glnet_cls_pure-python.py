"""Classification with a small GLNet on the demo data, in the style without strings and ``_base_``.

Command: ``python tools/train.py configs/demo/glnet_cls_pure-python.py``, after
``python tools/make_demo_data.py data/demo``
"""

from mmcv.transforms import LoadImageFromFile, RandomFlip
from mmengine.dataset import DefaultSampler
from mmengine.hooks import DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import CosineAnnealingLR, LinearLR
from mmpretrain.datasets import CustomDataset, PackInputs, RandomResizedCrop, ResizeEdge
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import GlobalAveragePooling, ImageClassifier, LabelSmoothLoss, LinearClsHead, Mixup
from torch.optim import AdamW

from mmhybrid.engine import AtomicCheckpointHook, ResumableEpochLoop
from mmhybrid.models import GLNet

num_classes = 8
data_preprocessor = dict(
    num_classes=num_classes, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
model = dict(
    type=ImageClassifier,
    backbone=dict(
        type=GLNet,
        arch=dict(
            embed_dims=[32, 64, 96, 128],
            depths=[1, 1, 2, 1],
            ffn_ratios=[3, 3, 3, 3],
            mixers=['glmix', 'glmix', ['glmix', 'mhsa'], 'mhsa'],
            num_slots=[16, 16, 16, 16],
            overlapped_patches=True,
            pos_encoding=True,
            conv_ffn=True,
        ),
        drop_path_rate=0.05,
    ),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=LinearClsHead,
        in_channels=128,
        num_classes=num_classes,
        loss=dict(type=LabelSmoothLoss, label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type=Mixup, alpha=0.2)]),
)

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CustomDataset,
        data_root='data/demo/imagenet',
        data_prefix='train',
        pipeline=[
            dict(type=LoadImageFromFile),
            dict(type=RandomResizedCrop, scale=96, crop_ratio_range=(0.5, 1.0)),
            dict(type=RandomFlip, prob=0.5),
            dict(type=PackInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CustomDataset,
        data_root='data/demo/imagenet',
        data_prefix='val',
        pipeline=[dict(type=LoadImageFromFile), dict(type=ResizeEdge, scale=96), dict(type=PackInputs)],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy, topk=(1,))
test_evaluator = val_evaluator

max_epochs = 5
optim_wrapper = dict(
    optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={key: dict(decay_mult=0.0) for key in ('cls_token', 'pos_embed', '.gamma')},
    ),
)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type=CosineAnnealingLR, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type=ResumableEpochLoop, max_epochs=max_epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()

default_scope = 'mmpretrain'
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=5),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=AtomicCheckpointHook, interval=5, max_keep_ckpts=2),
    sampler_seed=dict(type=DistSamplerSeedHook),
)
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='gloo')
)
randomness = dict(seed=0)
log_level = 'INFO'
