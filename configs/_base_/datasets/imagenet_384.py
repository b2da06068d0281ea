# DeiT's augmentation at 384 px; tests crop the middle of 438 px, DeiT's ratio.
_base_ = ['./imagenet_224.py']

img_size = 384
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = img_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 438
test_pipeline[2].crop_size = img_size

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
