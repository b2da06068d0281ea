"""GLNet-4G on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/glnet/glnet-4g_16xb128-hard-regnety_in1k.py 16``
Source: ours, the loss of DeiT; all else is as in ``glnet_4g_in1k.py``.
Published: none.
The teacher's weights have to be saved first: ``configs/_base_/distillation/regnety.py`` says how.
"""

_base_ = ['./glnet_4g_in1k.py', '../_base_/distillation/regnety.py', '../_base_/distillation/hard.py']

model = dict(type='mmhybrid.TaughtClassifier', teacher=_base_.teacher, distillation=_base_.distillation)
