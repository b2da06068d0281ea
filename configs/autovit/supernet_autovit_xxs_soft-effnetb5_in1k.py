"""Supernet of AutoViT-XXS on ImageNet-1k, with soft distillation from EfficientNet-B5 (83.3 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_soft-effnetb5_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 5 and 6.
Published: 68.6 % top-1, 1.8 M parameters for the network found (Table 6).
The teacher's weights have to be saved first: ``configs/_base_/distillation/effnetb5.py`` says how.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/distillation/effnetb5.py', '../_base_/distillation/soft.py']

model = dict(teacher=_base_.teacher, distillation=_base_.distillation)
