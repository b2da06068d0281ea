"""GLNet-4G on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/glnet_4g_in1k.py 16``
Source: GLNet, Tables 2, 3, 7 and 8; repeated augmentation, random erasing, EMA and minimal rate are as released.
Published: 83.7 % top-1, 27.0 M parameters, 4.5 G FLOPs.
As released, each epoch validates the EMA weights (``accuracy/top1``) and the plain ones (``accuracy/top1_origin``), and
the best of each is kept. The published accuracy is that of the best plain ones, which ``tools/plain_weights.py`` takes
out of ``best_accuracy_top1_origin_epoch_*.pth``. The released code trains in mixed precision: add ``--amp``. Its script
starts 4G with a stochastic depth of 0.1; Table 8 and its README say 0.15.
"""

_base_ = ['../_base_/glnet_in1k.py']
