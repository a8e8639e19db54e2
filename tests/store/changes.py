"""Changes of a small store whose shards hold one example each, for processes that are killed."""

from torch.utils.data import TensorDataset

from headwater import GradientStore
from headwater.estimators.stored import writing as store_writing
from tests.estimators.small import N, labels, make, rows

MORE = TensorDataset(rows(11, 30, 5), labels(11, 31))


def build(path):
    return GradientStore.build(make(batch_size=1), path)


def append(store):
    store.append(MORE)


def delete(store):
    store.delete([0, 3, N - 1])


def delete_and_compact(store):
    delete(store)
    store.compact()


def building(say, path):
    store_writing.SHARD_BYTES = 1
    say()
    build(path)


def changing(say, path, change):
    store_writing.SHARD_BYTES = 1
    store = GradientStore.open(path, make(batch_size=1))
    say()
    change(store)
