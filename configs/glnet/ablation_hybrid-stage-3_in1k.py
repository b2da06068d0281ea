"""GLNet-STL with overlapped patches and a hybrid stage 3, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_hybrid-stage-3_in1k.py 16``
Source: GLNet, Table 7, step 2.
Published: 83.1 % top-1, 31.4 M parameters, 4.8 G FLOPs.
The recipe is that of GLNet-STL; the paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

mixers = ['glmix', 'glmix', ['glmix', 'mhsa'] * 3, 'mhsa']
model = dict(backbone=dict(arch=dict(mixers=mixers, overlapped_patches=True)))
