"""Supernet of AutoViT-XXS on ImageNet-1k, with hard distillation from EfficientNet-B5 (83.3 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_hard-effnetb5_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 5 and 6.
Published: none.
The teacher is a timm model; its weights are to be saved as ``checkpoints/tf_efficientnet_b5.pth``.
The paper does not give the weight; this is DeiT's.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py']

model = dict(
    teacher=dict(timm='tf_efficientnet_b5', checkpoint='checkpoints/tf_efficientnet_b5.pth'),
    distillation=dict(kind='hard', alpha=0.5),
)
