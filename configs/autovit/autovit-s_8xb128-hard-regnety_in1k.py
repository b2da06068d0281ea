"""AutoViT-S on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/autovit-s_8xb128-hard-regnety_in1k.py 8``
Source: ours, the loss of DeiT; all else is as in ``autovit_s_in1k.py``.
Published: none.
The teacher's weights have to be saved first: ``configs/_base_/distillation/regnety.py`` says how.
"""

_base_ = ['./autovit_s_in1k.py', '../_base_/distillation/regnety.py', '../_base_/distillation/hard.py']

model = dict(type='mmhybrid.TaughtClassifier', teacher=_base_.teacher, distillation=_base_.distillation)
