"""GLNet-STL on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/glnet_stl_in1k.py 16``
Source: GLNet, Tables 1, 2, 6, 7 and 8.
Published: 82.5 % top-1, 30.3 M parameters, 4.4 G FLOPs.
As released, each epoch validates the EMA weights (``accuracy/top1``) and the plain ones (``accuracy/top1_origin``), and
the best of each is kept. The published accuracy is that of the best plain ones, which ``tools/plain_weights.py`` takes
out of ``best_accuracy_top1_origin_epoch_*.pth``. The released code trains in mixed precision: add ``--amp``.
"""

_base_ = ['../_base_/glnet_in1k.py']

model = dict(backbone=dict(arch='stl', drop_path_rate=0.1), head=dict(in_channels=768))
