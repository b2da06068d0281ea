# Stanford Cars in data/stanford_cars (car_ims/ and cars_annos.mat): 8,144 images to train on, 8,041 to test on.
# Augmented as ImageNet is, but that a crop shows half of the image at least.
_base_ = ['./imagenet_256.py']

data_preprocessor = dict(num_classes=196)
train_pipeline = _base_.train_pipeline
train_pipeline[1].crop_ratio_range = (0.5, 1.0)
dataset = dict(type='StanfordCars', data_root='data/stanford_cars')
train_dataloader = dict(batch_size=64, dataset=dict(_delete_=True, **dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(_delete_=True, **dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
