"""Runs networks of their authors' repositories with drawn weights and writes their outputs.

    python -m tests.torch_networks.run_authors_code CASE REPOSITORY

Needs a checkout of the repository, PyTorch and what that repository imports; none of its code is
stored here. `test_authors_code` compares the outputs with those of our networks.
"""

import argparse
import importlib
import importlib.util
import math
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.helpers import drawn_weights
from tests.tfdeblur.porting.authors_cases import CASES, GOLDEN

# The constructor of each network, from the folder of the repository and our options.
BUILDERS: dict[str, Callable[[pathlib.Path, dict[str, Any]], torch.nn.Module]] = {}


def builder(function: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    """Registers a constructor by its name."""
    BUILDERS[function.__name__] = function
    return function


def load(file: pathlib.Path) -> Any:
    """Imports one file of a repository."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@builder
def nafnet(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/megvii-research/NAFNet"""
    # Its packages import all of its training when they are imported themselves.
    for name in ("basicsr", "basicsr.models", "basicsr.models.archs", "basicsr.utils"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder / name.replace(".", "/"))]
    sys.modules["basicsr.utils"].get_root_logger = None
    return importlib.import_module("basicsr.models.archs.NAFNet_arch").NAFNet(
        width=options.get("width", 32),
        enc_blk_nums=list(options.get("encoder", (1, 1, 1, 28))),
        middle_blk_num=options.get("middle", 1),
        dec_blk_nums=list(options.get("decoder", (1, 1, 1, 1))),
    )


@builder
def fftformer(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/kkkls/FFTformer"""
    return load(folder / "basicsr/models/archs/fftformer_arch.py").fftformer(
        dim=options.get("width", 48),
        num_blocks=list(options.get("blocks", (6, 6, 12))),
        num_refinement_blocks=options.get("refinement", 4),
    )


@builder
def restormer(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/swz30/Restormer"""
    return load(folder / "basicsr/models/archs/restormer_arch.py").Restormer(
        dim=options.get("width", 48),
        num_blocks=list(options.get("blocks", (4, 6, 6, 8))),
        num_refinement_blocks=options.get("refinement", 4),
        heads=list(options.get("heads", (1, 2, 4, 8))),
    )


@builder
def deepdeblur(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/SeungjunNah/DeepDeblur-PyTorch; also needs scikit-image."""
    sys.path.insert(0, str(folder / "src"))
    from skimage.transform import pyramid_gaussian

    build = importlib.import_module("model.MSResNet").MSResNet
    scales = options.get("scales", 3)
    network = build(
        argparse.Namespace(
            rgb_range=255,
            n_resblocks=options.get("blocks", 19),
            n_feats=options.get("width", 64),
            kernel_size=5,
            n_scales=scales,
        )
    )

    def with_pyramid(module: torch.nn.Module, inputs: Any) -> Any:
        pixels = inputs[0][0].permute(1, 2, 0).numpy() * 255
        levels = pyramid_gaussian(pixels, scales - 1, channel_axis=-1)
        tensors = [torch.from_numpy(x.transpose(2, 0, 1).copy())[None].float() for x in levels]
        return (tensors,)

    network.register_forward_pre_hook(with_pyramid)
    network.register_forward_hook(lambda module, inputs, outputs: [x / 255 for x in outputs])
    return network


@builder
def deblurgan(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/KupynOrest/DeblurGAN"""
    networks = load(folder / "models/networks.py")
    network = networks.ResnetGenerator(
        3,
        3,
        norm_layer=networks.get_norm_layer(options["norm"]),
        use_dropout=options.get("dropout", 0.5) > 0,
        n_blocks=options["blocks"],
        learn_residual=True,
    )

    def as_in_training(module: torch.nn.Module, inputs: Any) -> None:
        # That code tests in training mode, where instance norm uses the statistics of the image.
        for part in module.modules():
            if isinstance(part, torch.nn.InstanceNorm2d):
                part.train()

    network.register_forward_pre_hook(as_in_training)
    return network


@builder
def fpn_mobilenet(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/VITA-Group/DeblurGANv2"""
    return _pyramid(
        load(folder / "models/fpn_mobilenet.py").FPNMobileNet, 64, options, pretrained=False
    )


@builder
def fpn_inception(folder: pathlib.Path, options: dict[str, Any]) -> torch.nn.Module:
    """https://github.com/VITA-Group/DeblurGANv2; also needs pretrainedmodels and torchsummary."""
    module = load(folder / "models/fpn_inception.py")
    backbone = module.inceptionresnetv2
    large, small = options.get("backbone_blocks", (10, 20))

    def without_download(num_classes: int, pretrained: str) -> torch.nn.Module:
        network = backbone(num_classes, pretrained=None)
        network.repeat, network.repeat_1 = network.repeat[:large], network.repeat_1[:small]
        return network

    module.inceptionresnetv2 = without_download
    return _pyramid(module.FPNInception, 128, options)


def _pyramid(
    build: Callable[..., torch.nn.Module], width: int, options: dict[str, Any], **more: Any
) -> torch.nn.Module:
    norm: dict[str, Callable[[int], torch.nn.Module]] = {
        "batch": torch.nn.BatchNorm2d,
        # As that code builds it, for its training mode.
        "instance": lambda channels: torch.nn.InstanceNorm2d(channels, track_running_stats=True),
    }
    width = options.get("width", width)
    chosen = options.get("norm", "instance")
    network = build(norm[chosen], num_filters=width, num_filters_fpn=2 * width, **more)

    def as_in_training(module: torch.nn.Module, inputs: Any) -> Any:
        # That code tests in training mode, where all norms use the statistics of the image. They
        # amplify rounding errors, to 4e-5 of the output in single precision.
        module.train(chosen == "instance").double()
        return (inputs[0].double(),)

    network.register_forward_pre_hook(as_in_training)
    network.register_forward_hook(lambda module, inputs, outputs: outputs.float())
    return network


def main() -> None:
    """Writes the outputs of one case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("repository", type=pathlib.Path)
    chosen = parser.parse_args()
    case = CASES[chosen.case]
    sys.path.insert(0, str(chosen.repository))
    network = BUILDERS[case.architecture](chosen.repository, case.options)
    print(f"{sum(math.prod(p.shape) for p in network.parameters()):,} parameters")
    state = {
        name: torch.from_numpy(drawn_weights.drawn(name, tuple(values.shape)))
        for name, values in network.state_dict().items()
        if values.is_floating_point()
    }
    print(network.load_state_dict(state, strict=False))
    pixels = drawn_weights.image(*case.size, signed=case.signed)
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    arrays = {
        f"restored{level}": output.numpy().transpose(0, 2, 3, 1)
        for level, output in enumerate(outputs)
    }
    np.savez_compressed(GOLDEN / f"{chosen.case}.npz", **arrays)


if __name__ == "__main__":
    main()
