"""GLiT-Tiny on ImageNet-1k, the DeiT recipe at batch 1024.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_in1k.py 8``
Source: GLiT, Tables 3, 4, 5 and 6.
Published: 76.3 % top-1, 7.2 M parameters, 1.4 G FLOPs.
It is also a row of AutoViT's tables 2 and 9.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
