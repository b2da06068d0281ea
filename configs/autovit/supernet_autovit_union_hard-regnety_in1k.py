"""Supernet of the union of the three spaces on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_union_hard-regnety_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.2: one supernet in place of three.
Published: 65.3 % top-1, 1.8 M parameters for the network found; the XXS supernet leads to 71.3 %.
The paper does not say whether this supernet was distilled; the 71.3 % that it is compared with was.
The teacher's weights have to be saved first: ``configs/_base_/distillation/regnety.py`` says how.
"""

_base_ = ['./supernet_autovit_union_in1k.py', '../_base_/distillation/regnety.py', '../_base_/distillation/hard.py']

model = dict(teacher=_base_.teacher, distillation=_base_.distillation)
