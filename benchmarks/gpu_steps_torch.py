"""PyTorch's side of `benchmarks.gpu_steps`: the same networks, losses and updates.

Runs in an environment with PyTorch and NumPy, and needs nothing else. Answers requests on standard
input, one JSON line each.
"""

import time
from typing import Any

import torch
from torch import nn

from benchmarks import contestants
from benchmarks.rednet30_torch import REDNet30
from tests.torch_networks.mimo_unet import MIMOUNet
from tests.torch_networks.nafnet import NAFNet

CRITIC_UPDATES, PENALTY, ADVERSARIAL = 5, 10.0, 1e-4


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes [B, C, H, W]; with channels last, the permutations copy nothing."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def patch_gan(width: int = 64, layers: int = 3) -> nn.Module:
    """Returns the critic: 4x4 convolutions with layer norm over channels and LeakyReLU."""
    steps: list[nn.Module] = []
    inputs = 3
    for index in range(layers + 1):
        outputs = width * min(2**index, 8)
        stride = 2 if index < layers else 1
        padding = nn.ZeroPad2d(1 if stride == 2 else (1, 2, 1, 2))
        convolution = nn.Conv2d(inputs, outputs, 4, stride)
        steps += [padding, convolution, ChannelNorm(outputs), nn.LeakyReLU(0.2)]
        inputs = outputs
    return nn.Sequential(*steps, nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(inputs, 1, 4))


def log_cosh(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
    """Returns the mean of log(cosh(difference))."""
    difference = (restored - sharp).abs()
    return (difference + nn.functional.softplus(-2 * difference)).mean() - 0.6931472


class Run:
    """Trains the networks of a recipe on one batch of noise, repeatedly."""

    def __init__(self, case: dict[str, Any]) -> None:
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True  # shapes are static
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model, critic = (case["sections"].get(name, {}) for name in ("model", "critic"))
        recipe = case["recipe"]
        self.critic: nn.Module | None = None
        if recipe == "rednet30wgan_cifar10":
            network: nn.Module = REDNet30(model.get("depth", 30) // 2, model.get("width", 64))
            self.critic = self._placed(patch_gan(critic.get("width", 64), critic.get("layers", 3)))
            options: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.9), "eps": 1e-7}
            kind, update = torch.optim.Adam, self._update_gan
        elif recipe == "nafnet32_gopro":
            sizes = {"width": 32, "encoder": [1, 1, 1, 28], "middle": 1, "decoder": [1] * 4}
            network = NAFNet(**{**sizes, **model})
            options = {"lr": 1e-3, "betas": (0.9, 0.9), "eps": 1e-7, "weight_decay": 0.0}
            kind, update = torch.optim.AdamW, self._update_nafnet
        else:
            network = MIMOUNet(**{"width": 32, "blocks": 8, **model})
            options = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-7}
            kind, update = torch.optim.Adam, self._update_mimo
        self.network = self._placed(network)
        self.update = update
        self.optimizer = kind(self.network.parameters(), fused=True, **options)
        if self.critic is not None:
            self.critic_optimizer = kind(self.critic.parameters(), fused=True, **options)
            # Runs eagerly: `torch.compile` has no gradients of gradients.
            self.critic_call = self.critic
        self.call = torch.compile(self.network)
        shape = (2, case["batch"], 3, case["size"], case["size"])
        images = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)
        self.pair = [x.contiguous(memory_format=torch.channels_last) for x in images.unbind()]

    def _placed(self, network: nn.Module) -> nn.Module:
        return network.to(self.device, memory_format=torch.channels_last)

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        networks = [self.network, *([self.critic] if self.critic else [])]
        return sum(p.numel() for network in networks for p in network.parameters())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16)

    def _update_nafnet(self, blurred: torch.Tensor, sharp: torch.Tensor) -> None:
        with self._autocast():
            restored = self.call(blurred)
        errors = (restored.float() - sharp).square().mean(dim=(1, 2, 3))
        self._apply((10 * torch.log10(errors + 1e-8)).mean(), clip=0.01)

    def _update_mimo(self, blurred: torch.Tensor, sharp: torch.Tensor) -> None:
        with self._autocast():
            outputs = self.call(blurred)
        total = torch.zeros([], device=self.device)
        for output in outputs:
            output = output.float()
            target = nn.functional.interpolate(
                sharp, size=output.shape[-2:], mode="bilinear", antialias=False
            )
            waves = torch.fft.rfft2(output) - torch.fft.rfft2(target)
            total = total + (output - target).abs().mean()
            total = total + 0.1 * torch.view_as_real(waves).abs().mean()
        self._apply(total)

    def _update_gan(self, blurred: torch.Tensor, sharp: torch.Tensor) -> None:
        assert self.critic is not None
        with self._autocast():
            restored = self.call(blurred)
        restored = restored.float()
        known = restored.detach()
        for _ in range(CRITIC_UPDATES):
            share = torch.rand([len(sharp), 1, 1, 1], device=self.device)
            between = (sharp + share * (known - sharp)).requires_grad_()
            with self._autocast():
                real, fake = self.critic_call(torch.cat([sharp, known])).chunk(2)
                score = self.critic_call(between).float().mean(dim=(1, 2, 3)).sum()
            (slope,) = torch.autograd.grad(score, between, create_graph=True)
            norm = (slope.float().square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
            loss = fake.float().mean() - real.float().mean() + PENALTY * (norm - 1).square().mean()
            self.critic_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.critic_optimizer.step()
        # Without gradients of the critic's weights.
        self.critic.requires_grad_(False)
        with self._autocast():
            score = self.critic_call(restored).float().mean()
        self._apply(log_cosh(restored, sharp) - ADVERSARIAL * score)
        self.critic.requires_grad_(True)

    def _apply(self, loss: torch.Tensor, clip: float | None = None) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()

    def steps(self, request: dict[str, Any]) -> dict[str, float]:
        """Runs steps; returns the seconds until the device is idle."""
        start = time.perf_counter()
        for _ in range(request["steps"]):
            blurred, sharp = (half.float() / 255 for half in self.pair)
            self.update(blurred, sharp)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Answers requests: first the case, then lines `{"steps": ...}`."""
    run = Run(contestants.settings())
    device = torch.cuda.get_device_name() if run.device == "cuda" else "cpu"
    about = {
        "version": f"PyTorch {torch.__version__}",
        "device": device,
        "parameters": run.parameters,
    }
    contestants.answer(about, run.steps)


if __name__ == "__main__":
    main()
