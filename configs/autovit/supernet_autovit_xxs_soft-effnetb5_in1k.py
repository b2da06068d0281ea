"""Supernet of AutoViT-XXS on ImageNet-1k, with soft distillation from EfficientNet-B5 (83.3 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_soft-effnetb5_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 5 and 6.
Published: 68.6 % top-1, 1.8 M parameters for the network found (Table 6).
The teacher is a timm model; its weights are to be saved as ``checkpoints/tf_efficientnet_b5.pth``.
The paper gives neither weight nor temperature; these are DeiT's.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py']

model = dict(
    teacher=dict(timm='tf_efficientnet_b5', checkpoint='checkpoints/tf_efficientnet_b5.pth'),
    distillation=dict(kind='soft', alpha=0.1, temperature=3.0),
)
