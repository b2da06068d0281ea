# GLNet-4G and the recipe of all GLNets on ImageNet-1k (table 8).
_base_ = [
    './models/glnet_cls.py',
    './datasets/imagenet_224.py',
    './schedules/imagenet_adamw_300e.py',
    './runtime/cls.py',
]

optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
custom_hooks = [
    dict(type='mmhybrid.EMAHook', momentum=1e-4, update_buffers=True, evaluate_on_origin=True, priority='ABOVE_NORMAL')
]
default_hooks = dict(checkpoint=dict(save_best=['accuracy/top1', 'accuracy/top1_origin'], rule='greater'))
auto_scale_lr = dict(base_batch_size=2048)

train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
