"""EfficientNet-Lite3 on ImageNet-1k at 280 px, 350 epochs at batch 4096.

Command: ``bash tools/dist_train.sh configs/efficientnet-lite/efficientnet-lite3_in1k.py 32``
Source: EfficientNet, section 5.2; the network and its results are of the release, lite/README.md.
Published: 79.8 % top-1, 8.2 M parameters, 1.44 G MACs.
The dropout of 0.3 in front of the classifier is left out, as MMPretrain's linear head has none. No package holds the
published weights.
"""

_base_ = ['./efficientnet-lite0_in1k.py']

model = dict(backbone=dict(arch='lite3'))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 280
test_pipeline = _base_.test_pipeline
test_pipeline[1].crop_size = 280
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
