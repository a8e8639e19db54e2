"""Examples with a wrong label have a high self-influence: the ranking, batch by batch."""

import os

import torch
from captum.influence import TracInCP
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

generator = torch.Generator().manual_seed(3)
centres = 3 * torch.randn(3, 6, generator=generator)
labels = torch.randint(3, (120,), generator=generator)
features = centres[labels] + torch.randn(120, 6, generator=generator)
flipped = torch.randperm(120, generator=generator)[:12]
labels[flipped] = (labels[flipped] + 1) % 3
dataset = TensorDataset(features, labels)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
criterion = nn.CrossEntropyLoss()
os.makedirs("checkpoints", exist_ok=True)
checkpoints = []
for epoch in range(9):
    for x, y in DataLoader(dataset, batch_size=16, shuffle=True):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    if epoch % 3 == 2:
        checkpoints.append(os.path.join("checkpoints", f"epoch-{epoch}.pt"))
        torch.save(model.state_dict(), checkpoints[-1])


def load(model, path):
    model.load_state_dict(torch.load(path))
    return 0.05


loader = DataLoader(dataset, batch_size=32, shuffle=False)
tracin = TracInCP(
    model,
    loader,
    checkpoints,
    load,
    loss_fn=criterion,
    batch_size=None,
    sample_wise_grads_per_batch=True,
)
scores = torch.cat([tracin.self_influence(batch) for batch in loader])
at_once = tracin.self_influence(loader, outer_loop_by_checkpoints=True)
by_default = tracin.self_influence()

suspects = scores.argsort(descending=True)[:12]
found = len(set(suspects.tolist()) & set(flipped.tolist()))
print(f"{found} of {len(flipped)} flipped labels are among the 12 most suspicious examples")
