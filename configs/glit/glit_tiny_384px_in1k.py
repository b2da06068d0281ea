"""GLiT-Tiny fine-tuned at 384 px on ImageNet-1k as DeiT's networks are, 30 epochs at batch 512.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_384px_in1k.py 8 --cfg-options load_from=CHECKPOINT``
Source: ours, DeiT's recipe for 384 px (a constant rate of 5e-6 behind the warm-up, weight decay 1e-8); the paper trains
at 224 px alone.
Published: none.
CHECKPOINT is one of ``glit_tiny_in1k.py``; its position embedding is resized to 24 x 24 patches.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [dict(type='LinearLR', start_factor=0.2, by_epoch=True, end=5, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=512)

train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
model = dict(backbone=dict(img_size=384))
