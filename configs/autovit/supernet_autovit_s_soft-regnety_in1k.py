"""Supernet of AutoViT-S on ImageNet-1k, with soft distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_s_soft-regnety_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 2 and 5.
Published: none.
The teacher's weights have to be saved first: ``configs/_base_/distillation/regnety.py`` says how.
"""

_base_ = ['./supernet_autovit_s_in1k.py', '../_base_/distillation/regnety.py', '../_base_/distillation/soft.py']

model = dict(teacher=_base_.teacher, distillation=_base_.distillation)
