"""The script that the reports describe, written anew from their words: what Torchdeck's times are held against.

LeNet on CIFAR-10: torchvision's data set with ToTensor and Normalize, a DataLoader with 2 workers, SGD at 0.001 with
momentum 0.9, the mean loss of every so many batches, one evaluation at the end. It knows nothing of Torchdeck.

Usage: python benchmarks/report_script.py DATA [--epochs 5] [--batch-size 4] [--every 1000] [--device cpu]
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10


class Net(nn.Module):
    """LeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.manual_seed(1)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))]
    )
    train_set = CIFAR10(asked.data, train=True, transform=transform)
    test_set = CIFAR10(asked.data, train=False, transform=transform)
    train_loader = DataLoader(train_set, asked.batch_size, shuffle=True, num_workers=asked.workers)
    test_loader = DataLoader(test_set, 100, shuffle=False, num_workers=asked.workers)
    net = Net().to(asked.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    begun = time.perf_counter()
    for epoch in range(asked.epochs):
        running = 0.0
        for number, (images, labels) in enumerate(train_loader, start=1):
            images, labels = images.to(asked.device), labels.to(asked.device)
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if number % asked.every == 0:
                print(f"[{epoch + 1}, {number:5d}] loss: {running / asked.every:.3f}", flush=True)
                running = 0.0
    print(f"Finished training in {time.perf_counter() - begun:.2f} s")
    net.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            guessed = net(images.to(asked.device)).argmax(1)
            correct += int((guessed == labels.to(asked.device)).sum())
    print(f"Accuracy on the {len(test_set)} test images: {100 * correct / len(test_set):.2f} %")


if __name__ == "__main__":
    main()
