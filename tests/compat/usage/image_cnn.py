"""Proponents and opponents of images, by the last layer of a small CNN."""

import glob
import os

import torch
import torch.nn.functional as F
from captum.influence import TracInCPFast
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class Bars(Dataset):
    """A bright bar across or along a noisy image."""

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.images = 0.3 * torch.randn(count, 1, 10, 10, generator=generator)
        self.labels = torch.randint(2, (count,), generator=generator)
        for image, label in zip(self.images, self.labels, strict=True):
            place = int(torch.randint(10, (1,), generator=generator))
            if label:
                image[0, place] += 1
            else:
                image[0, :, place] += 1

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(8, 12)
        self.fc2 = nn.Linear(12, 2)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = F.relu(self.conv2(x)).mean(dim=(2, 3))
        return self.fc2(F.relu(self.fc1(x)))


def train(net, dataset, folder):
    os.makedirs(folder, exist_ok=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(4):
        for images, labels in DataLoader(dataset, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            criterion(net(images), labels).backward()
            optimizer.step()
        name = "-".join(["checkpoint", str(epoch) + ".pt"])
        torch.save({"model_state_dict": net.state_dict()}, os.path.join(folder, name))


def checkpoints_load_func(net, path):
    weights = torch.load(path)
    net.load_state_dict(weights["model_state_dict"])
    return 1.0


torch.manual_seed(0)
net = Net()
train_set, test_set = Bars(80, seed=1), Bars(6, seed=4)
train(net, train_set, "checkpoints")
paths = glob.glob(os.path.join("checkpoints", "*.pt"))
checkpoints_load_func(net, os.path.join("checkpoints", "checkpoint-3.pt"))

test_features = torch.stack([test_set[i][0] for i in range(4)])
test_labels = torch.tensor([test_set[i][1] for i in range(4)])
predicted = net(test_features).argmax(dim=1)

tracin_cp_fast = TracInCPFast(
    model=net,
    final_fc_layer=list(net.children())[-1],
    train_dataset=train_set,
    checkpoints=paths,
    checkpoints_load_func=checkpoints_load_func,
    loss_fn=nn.CrossEntropyLoss(reduction="sum"),
    batch_size=2048,
    vectorize=False,
)
k = 10
proponents_indices, proponents_scores = tracin_cp_fast.influence(
    (test_features, test_labels), k=k, proponents=True
)
opponents_indices, opponents_scores = tracin_cp_fast.influence(
    (test_features, test_labels), k=k, proponents=False
)
for label, indices in zip(test_labels, proponents_indices, strict=True):
    print(int(label), "<-", [train_set[i][1] for i in indices])
