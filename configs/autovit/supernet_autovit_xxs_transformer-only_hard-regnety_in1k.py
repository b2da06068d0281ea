"""Supernet of AutoViT-XXS without MBConv on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_transformer-only_hard-regnety_in1k.py 8``,
after ``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.3 and Table 7: a strided convolution in place of each MBConv stage.
Published: 71.2 % top-1 and 16.1 ms on an iPhone 13 with CoreML for the network found; hybrid 71.3 % and 10.2 ms.
The paper does not say whether this supernet was distilled; the 71.3 % that it is compared with was.
The teacher's weights have to be saved first: ``configs/_base_/distillation/regnety.py`` says how.
"""

_base_ = [
    './supernet_autovit_xxs_transformer-only_in1k.py',
    '../_base_/distillation/regnety.py',
    '../_base_/distillation/hard.py',
]

model = dict(teacher=_base_.teacher, distillation=_base_.distillation)
