"""Which training sentences made the classifier say so? Full gradients, losses per example."""

import glob
import os

import torch
from captum.influence import TracInCP
from torch import nn
from torch.utils.data import DataLoader, Dataset

FOOD = ["soup", "bread", "cheese", "apple", "rice", "salad"]
SPORT = ["goal", "match", "team", "race", "ball", "coach"]
FILLING = ["the", "a", "good", "bad", "today", "again", "we", "had"]


def sentences(count, seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(words):
        return words[int(torch.randint(len(words), (1,), generator=generator))]

    for i in range(count):
        length = int(torch.randint(3, 8, (1,), generator=generator))
        words = [pick((FOOD, SPORT)[i % 2] + FILLING) for _ in range(length)]
        yield " ".join([*words, pick((FOOD, SPORT)[i % 2])]), i % 2


class Sentences(Dataset):
    def __init__(self, pairs, vocabulary):
        self.pairs = list(pairs)
        self.vocabulary = vocabulary

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        text, label = self.pairs[index]
        return torch.tensor([self.vocabulary[word] for word in text.split()]), label


def collate(examples):
    texts, labels = zip(*examples, strict=True)
    tokens = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    return tokens, torch.tensor(labels)


class TextClassifier(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding = nn.EmbeddingBag(words + 1, 16, mode="mean", padding_idx=0)
        self.fc = nn.Linear(16, 2)

    def forward(self, tokens):
        return self.fc(self.embedding(tokens))


vocabulary = {word: i for i, word in enumerate(FOOD + SPORT + FILLING, start=1)}
train_set = Sentences(sentences(60, seed=1), vocabulary)
test_set = Sentences(sentences(6, seed=2), vocabulary)

torch.manual_seed(0)
model = TextClassifier(len(vocabulary))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
criterion = nn.CrossEntropyLoss()
os.makedirs("checkpoints", exist_ok=True)
for epoch in range(6):
    for tokens, labels in DataLoader(train_set, batch_size=8, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        criterion(model(tokens), labels).backward()
        optimizer.step()
    if epoch % 2 == 0:
        torch.save(
            {"model_state_dict": model.state_dict(), "learning_rate": 0.5},
            os.path.join("checkpoints", f"checkpoint-{epoch}.pt"),
        )


def checkpoints_load_func(net, path):
    weights = torch.load(path)
    net.load_state_dict(weights["model_state_dict"])
    return weights["learning_rate"]


tracin = TracInCP(
    model,
    DataLoader(train_set, batch_size=16, collate_fn=collate),
    glob.glob(os.path.join("checkpoints", "*.pt")),
    checkpoints_load_func=checkpoints_load_func,
    loss_fn=nn.CrossEntropyLoss(reduction="none"),
)
test_loader = DataLoader(test_set, batch_size=4, collate_fn=collate)
scores = tracin.influence(test_loader)
indices, influence_scores = tracin.influence(test_loader, k=3, proponents=True)
overall = tracin.influence(test_loader, k=5, aggregate=True)
for (text, _), proponents in zip(test_set.pairs, indices, strict=True):
    print(text, "<-", [train_set.pairs[i][0] for i in proponents])
