"""Targets of a crop against closed forms and MMCV's RoIAlign."""

import pytest
import torch

from mmhybrid.models.heads.token_targets import crop_targets, dense_maps

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def test_dense_maps_hold_the_kept_logits():
    label_map = torch.zeros(1, 2, 2, 1, 2)
    label_map[0, 0, :, 0, 0], label_map[0, 1, :, 0, 0] = torch.tensor([5.0, 3.0]), torch.tensor([2.0, 0.0])
    label_map[0, 0, :, 0, 1], label_map[0, 1, :, 0, 1] = torch.tensor([4.0, -1.0]), torch.tensor([1.0, 3.0])
    maps = dense_maps(label_map, 4)
    assert maps[0, :, 0, 0].tolist() == [3, 0, 5, 0]
    assert maps[0, :, 0, 1].tolist() == [0, 4, 0, -1]


def test_whole_image_at_the_map_s_size_is_the_map():
    maps = torch.randn(2, 5, 4, 6)
    assert torch.allclose(crop_targets(maps, WHOLE.expand(2, 4), 4, 6), maps.softmax(1), atol=1e-6)


def test_half_of_the_image_is_half_of_the_map():
    maps = torch.randn(1, 5, 4, 6)
    left = crop_targets(maps, torch.tensor([[0.0, 0.0, 0.5, 1.0]]), 4, 3)
    bottom = crop_targets(maps, torch.tensor([[0.0, 0.5, 1.0, 1.0]]), 2, 6)
    assert torch.allclose(left, maps[..., :3].softmax(1), atol=1e-6)
    assert torch.allclose(bottom, maps[:, :, 2:].softmax(1), atol=1e-6)


def test_linear_map_is_sampled_at_the_cells_centres():
    """Bilinear samples of a linear function are exact, and their mean is its value at the cell's centre."""
    size, box = 18, (0.2, 0.3, 0.7, 0.9)
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing='ij')
    maps = torch.stack((x / size, 2 * y / size, torch.zeros(size, size)))[None]
    probabilities = crop_targets(maps, torch.tensor([box]), 7, 7)
    logits = (probabilities / probabilities[:, 2:]).log()
    centres = (torch.arange(7) + 0.5) / 7
    assert torch.allclose(logits[0, 0], (box[0] + 0.5 * centres).expand(7, 7), atol=1e-5)
    assert torch.allclose(logits[0, 1], (2 * (box[1] + 0.6 * centres))[:, None].expand(7, 7), atol=1e-5)


def test_mirrored_map_and_box_give_mirrored_targets():
    maps, box = torch.randn(1, 3, 9, 9), torch.tensor([[0.1, 0.2, 0.55, 0.9]])
    mirrored = crop_targets(maps.flip(3), torch.tensor([[0.45, 0.2, 0.9, 0.9]]), 7, 7)
    assert torch.allclose(mirrored.flip(3), crop_targets(maps, box, 7, 7), atol=1e-5)


@pytest.mark.dense
def test_targets_are_those_of_roi_align():
    from mmcv.ops import roi_align

    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(16, 4, 18, 18, generator=generator)
    corner = torch.rand(16, 2, generator=generator) * 0.6
    boxes = torch.cat((corner, corner + 0.1 + 0.3 * torch.rand(16, 2, generator=generator)), 1)
    rois = torch.cat((torch.arange(16.0)[:, None], boxes * 18), 1)
    for size in (1, 7):
        expected = roi_align(maps, rois, (size, size), 1.0, 0, 'avg', True).softmax(1)
        assert torch.allclose(crop_targets(maps, boxes, size, size), expected, atol=1e-4)
