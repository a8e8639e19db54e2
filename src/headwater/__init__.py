"""headwater: training data attribution for any PyTorch model.

Which training examples made my model say this? TracIn (Pruthi et al. 2020) answers with the sum
over saved checkpoints of learning rate times the dot product of two per-example gradients.
"""

from headwater import errors, tasks
from headwater.capture import LayerCall, NotPerExample, register_rule
from headwater.checkpoints import default_checkpoints_load_func
from headwater.errors import (
    AttributionFileError,
    BatchError,
    CaptureError,
    CheckpointError,
    CheckpointMismatchError,
    HeadwaterError,
    HeadwaterWarning,
    InputError,
    LearningRateError,
    LossError,
    MissingDependencyError,
    ModelError,
    NoCheckpointsError,
    NonFiniteError,
    SelectionError,
    ShuffledLoaderError,
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreLockedError,
    StoreMismatchError,
    StoreNotFoundError,
    StoreUnsafeError,
    StoreVersionError,
    StoreWriteError,
    UnsafeCheckpointError,
)
from headwater.estimators import (
    DataInfluence,
    GradientStore,
    KMostInfluentialResults,
    StoreTopK,
    TracInCP,
    TracInCPBase,
    TracInCPFast,
    TracInCPFastRandProj,
)
from headwater.forms import Projected
from headwater.query import ExactNearestNeighbors, FaissNearestNeighbors, NearestNeighbors
from headwater.results import Scores, TopScores
from headwater.tasks import Task
from headwater.version import __version__

__all__ = [
    "AttributionFileError",
    "BatchError",
    "CaptureError",
    "CheckpointError",
    "CheckpointMismatchError",
    "DataInfluence",
    "ExactNearestNeighbors",
    "FaissNearestNeighbors",
    "GradientStore",
    "HeadwaterError",
    "HeadwaterWarning",
    "InputError",
    "KMostInfluentialResults",
    "LayerCall",
    "LearningRateError",
    "LossError",
    "MissingDependencyError",
    "ModelError",
    "NearestNeighbors",
    "NoCheckpointsError",
    "NonFiniteError",
    "NotPerExample",
    "Projected",
    "Scores",
    "SelectionError",
    "ShuffledLoaderError",
    "StoreCorruptError",
    "StoreError",
    "StoreIncompleteError",
    "StoreLockedError",
    "StoreMismatchError",
    "StoreNotFoundError",
    "StoreTopK",
    "StoreUnsafeError",
    "StoreVersionError",
    "StoreWriteError",
    "Task",
    "TopScores",
    "TracInCP",
    "TracInCPBase",
    "TracInCPFast",
    "TracInCPFastRandProj",
    "UnsafeCheckpointError",
    "__version__",
    "default_checkpoints_load_func",
    "errors",
    "register_rule",
    "tasks",
]
