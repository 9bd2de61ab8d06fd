"""Networks whose weights all have an effect, and images for them."""

import numpy as np
import torch
from torch import nn

from tests.torch_networks.deblurgan import DeblurGAN
from tests.torch_networks.deepdeblur import DeepDeblur
from tests.torch_networks.fftformer import FFTformer
from tests.torch_networks.fpn_inception import FPNInception
from tests.torch_networks.fpn_mobilenet import FPNMobileNet
from tests.torch_networks.mimo_unet import MIMOUNet
from tests.torch_networks.nafnet import NAFNet
from tests.torch_networks.restormer import Restormer

NETWORKS = {
    "mimo_unet": MIMOUNet,
    "deblurgan": DeblurGAN,
    "nafnet": NAFNet,
    "deepdeblur": DeepDeblur,
    "fftformer": FFTformer,
    "restormer": Restormer,
    "fpn_inception": FPNInception,
    "fpn_mobilenet": FPNMobileNet,
}


def build(architecture: str, seed: int = 0, **options) -> nn.Module:
    """Builds a network in test mode without weights of exactly zero or one."""
    torch.manual_seed(seed)
    network = NETWORKS[architecture](**options)
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name.endswith(("running_var",)):
                values.uniform_(0.5, 2.0)
            elif values.is_floating_point() and (values.ndim == 1 or name.endswith("gamma")):
                values.add_(torch.randn_like(values) * 0.1)
            elif name.endswith("beta"):
                values.normal_(0, 0.1)
    return network.eval()


def picture(height: int, width: int, *, signed: bool = False, seed: int = 0) -> np.ndarray:
    """Returns smooth colors with some noise, float32 [1, H, W, 3] in [0, 1] or [-1, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width][..., None] / 7.0
    waves = np.sin(rows * rng.uniform(0.5, 2, 3) + columns * rng.uniform(0.5, 2, 3))
    image = np.clip(0.5 + 0.4 * waves + rng.normal(0, 0.05, waves.shape), 0, 1)
    return (2 * image - 1 if signed else image)[None].astype(np.float32)


def restore(network: nn.Module, image: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of a network for an image [1, H, W, 3], finest first."""
    with torch.no_grad():
        outputs = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [output.numpy().transpose(0, 2, 3, 1) for output in outputs]
