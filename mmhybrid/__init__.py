"""Hybrid convolution-attention backbones and their architecture search for OpenMMLab."""

from mmhybrid.utils.current_folder import import_torch, leave_out_of_module_runs, refuse_libraries

leave_out_of_module_runs(__name__, __file__)
refuse_libraries()
import_torch()

from mmhybrid.utils.images import limit_opencv  # noqa: E402
from mmhybrid.utils.optional import require  # noqa: E402

limit_opencv()  # before anything imports OpenCV

require('mmengine', 'mmhybrid')

from mmhybrid import compat, model_index  # noqa: E402

compat.apply()
model_index.announce()

from mmhybrid import registry  # noqa: E402
from mmhybrid.version import __version__  # noqa: E402

__all__ = ['__version__', 'registry']
