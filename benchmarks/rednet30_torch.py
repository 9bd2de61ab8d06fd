"""The REDNet30 of `tfdeblur.models.rednet30` in PyTorch, for `benchmarks.train_step`.

Runs in an environment with PyTorch and needs nothing else. It is meant as a carefully written
PyTorch program: channels-last memory, the fused Adam, no synchronization within a step, and
autocast with float32 weights for bfloat16. It answers requests on standard input, one JSON line
each.
"""

import json
import sys
import time

import torch
from torch import nn


class REDNet30(nn.Module):
    """Fifteen convolutions and fifteen mirrored ones, with a skip for every second pair."""

    def __init__(self, half: int = 15, width: int = 64) -> None:
        super().__init__()
        channels = [3, *[width] * (2 * half - 1)]
        self.half = half
        self.convolutions = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1) for c in channels)
        # PyTorch's momentum weights the new value, Keras's the old one.
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.01) for _ in range(2 * half)
        )
        self.to_colors = nn.Conv2d(width, 3, 1)
        self.elu = nn.ELU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Restores [B, 3, H, W] in [0, 1]."""
        x, skips = images, {}
        for index in range(self.half):
            x = self.norms[index](self.elu(self.convolutions[index](x)))
            if index % 2 == 0:
                skips[index] = x
        for index in range(self.half):
            x = self.convolutions[self.half + index](x)
            mirrored = skips.get(self.half - 1 - index)
            if mirrored is not None:
                x = x + mirrored
            x = self.norms[self.half + index](self.elu(x))
        return self.elu(self.to_colors(x).float() + images)


class Trainer:
    """Trains the network on one batch of noise, repeatedly."""

    def __init__(self, precision: str, batch: int, size: int) -> None:
        torch.manual_seed(0)
        self.bfloat16 = precision == "bfloat16"
        self.network = REDNet30().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-7, fused=True)
        images = torch.randint(0, 256, (2, batch, 3, size, size), dtype=torch.uint8)
        self.blurred, self.sharp = (
            x.contiguous(memory_format=torch.channels_last) for x in images.unbind()
        )

    def step(self) -> None:
        """Performs one update on the log-cosh loss."""
        blurred, sharp = self.blurred.float() / 255, self.sharp.float() / 255
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            restored = self.network(blurred)
        difference = (restored.float() - sharp).abs()
        loss = (difference + nn.functional.softplus(-2 * difference)).mean()
        loss.backward()
        self.optimizer.step()

    def run(self, steps: int) -> dict[str, float]:
        """Returns the average wall and CPU milliseconds per step."""
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.step()
        clock, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        return {"clock": clock / steps * 1e3, "cpu": cpu / steps * 1e3}


def main() -> None:
    """Answers requests: first the settings, then lines `{"precision": ..., "steps": ...}`."""
    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    trainers = {
        precision: Trainer(precision, settings["batch"], settings["size"])
        for precision in settings["precisions"]
    }
    parameters = sum(p.numel() for p in trainers[settings["precisions"][0]].network.parameters())
    version = f"PyTorch {torch.__version__}"
    print(json.dumps({"version": version, "trainable": parameters}), flush=True)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        print(json.dumps(trainers[request["precision"]].run(request["steps"])), flush=True)


if __name__ == "__main__":
    main()
