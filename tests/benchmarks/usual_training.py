"""The way most people write it: a DataLoader over a data set with transforms, one model after the other.

The yardstick of `bench_trial_throughput`: the same networks, data, optimiser, epochs and evaluations as the product's own.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from trialhouse.workloads.torchvision_ops import import_torchvision


class UsualLeNet(nn.Module):
    """Convolution, rectifier, pooling, twice; two linear layers: the network of `trialhouse.workloads.lenet` at depth 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(2 * width * 7 * 7, 3 * width // 2)
        self.classifier = nn.Linear(3 * width // 2, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.pool(torch.relu(self.first(images)))
        features = self.pool(torch.relu(self.second(features))).flatten(1)
        return self.classifier(torch.relu(self.hidden(features)))


def train_usually(root: Path, *, width: int, n_train: int, epochs: int, learning_rate: float, seed: int = 0) -> tuple[float, float]:
    """Train one model on MNIST and evaluate it on the test split after every epoch.

    Returns
    -------
    tuple of float
        Accuracy after the last epoch, and seconds in all.
    """
    started = time.perf_counter()
    transforms = import_torchvision().transforms
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    mnist = import_torchvision().datasets.MNIST
    torch.manual_seed(seed)
    training = Subset(mnist(str(root), train=True, transform=transform), range(n_train))
    train_loader = DataLoader(training, batch_size=64, shuffle=True)
    test_loader = DataLoader(mnist(str(root), train=False, transform=transform), batch_size=1000)
    model = UsualLeNet(width)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    accuracy = 0.0
    for _ in range(epochs):
        model.train()
        for images, labels in train_loader:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                correct += (model(images).argmax(1) == labels).sum().item()
        accuracy = correct / len(test_loader.dataset)
    return accuracy, time.perf_counter() - started
