"""Every error and warning that headwater raises, as one tree.

A message says what came, what was expected and what to do. Each leaf also inherits the built-in
exception that a caller would guess, so `except ValueError` keeps working in users' code.
"""


class HeadwaterError(Exception):
    """The root: `except HeadwaterError` catches whatever the library itself raises."""


class InputError(HeadwaterError, ValueError):
    """An argument can't mean what it would have to mean (a negative k, an empty selection)."""


class BatchError(InputError):
    """A batch has the wrong kind or size for the task that reads it."""


class SelectionError(InputError):
    """`layers` names something that the model doesn't have, or selects nothing."""


class ShuffledLoaderError(InputError):
    """The loader shuffles, so the index of a training example would mean nothing."""


class LossError(InputError):
    """The loss isn't what it has to be: per-example losses, or their plain sum or mean."""


class AttributionFileError(InputError):
    """The file that tells the command line of a training run can't be used; names its line."""


class DecisionsError(InputError):
    """Decisions about training examples are of other data, or one of them can't be meant."""


class RankError(HeadwaterError, RuntimeError):
    """Another process of the group failed, died, or didn't come; the message names it.

    Attributes:
        ranks: those that failed or died, where that is known.
        died: whether they died, and so can't say more.
    """

    def __init__(self, message: str, *, ranks: tuple[int, ...] = (), died: bool = False) -> None:
        super().__init__(message)
        self.ranks = ranks
        self.died = died


class OutOfMemoryError(HeadwaterError, MemoryError):
    """A single example, or a batch that can't be cut, takes more memory than there is."""


class CheckpointError(HeadwaterError):
    """Something is wrong with a checkpoint, or with the collection of them."""


class NoCheckpointsError(CheckpointError, FileNotFoundError, ValueError):
    """There is no checkpoint: the folder is missing or empty, or the iterable yields nothing."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """A checkpoint is of another architecture than the model."""


class UnsafeCheckpointError(CheckpointError, ValueError):
    """Reading the checkpoint would mean running code that is stored in it; it was not read."""


class LearningRateError(CheckpointError, ValueError):
    """A learning rate is missing, isn't a finite number of at least 0, or their count is wrong."""


class RecordingError(CheckpointError):
    """Something is wrong with a recording: a folder that a `CheckpointRecorder` writes."""


class RecordingNotFoundError(RecordingError, FileNotFoundError):
    """There is no recording at that place."""


class RecordingExistsError(RecordingError, FileExistsError):
    """The folder has something in it already, and nothing says that it may be replaced."""


class RecordingMismatchError(RecordingError, ValueError):
    """The recording is of another training run than the one that is to go on; says what differs."""


class RecordingVersionError(RecordingError, ValueError):
    """The recording was written in a format that this version of headwater doesn't know."""


class RecordingCorruptError(RecordingError, ValueError):
    """A file of the recording is missing, cut off or changed."""


class RecordingLockedError(RecordingError, RuntimeError):
    """Another recorder is writing to the folder."""


class RecordingWriteError(RecordingError, OSError):
    """The recording can't be written (a full disk, most often); it is as it was before."""


class ReplayError(HeadwaterError, ValueError):
    """A training run can't be taken again."""


class NotReplayableError(ReplayError):
    """Something isn't known of the run, or its updates are of a kind that isn't followed."""


class DepartureError(ReplayError):
    """The run, taken again, comes to other weights than were recorded; says where first."""


class ModelError(HeadwaterError, RuntimeError):
    """The model can't be attributed as it is (it forces train mode, or nothing depends on it)."""


class CaptureError(HeadwaterError, RuntimeError):
    """Per-example gradients disagree with autograd, even through the fallback."""


class CurvatureError(HeadwaterError, ValueError):
    """The loss has no curvature of the kind asked for, or that can't be inverted as it is."""


class FactorsMismatchError(CurvatureError):
    """Factors on disk are of another model, data or setting than they are read for; says which."""


class FactorsCorruptError(CurvatureError):
    """A file of factors is cut off, changed, or of a version that isn't known."""


class NonFiniteError(HeadwaterError, ArithmeticError):
    """A per-example gradient has an entry that is NaN or infinite."""


class MissingDependencyError(HeadwaterError, ImportError):
    """An optional package is needed that isn't installed; the message says which and how."""


class ReportError(HeadwaterError, ValueError):
    """A report isn't as it was written, or not of the run that it is compared with."""


class StoreError(HeadwaterError):
    """Something is wrong with a gradient store."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no gradient store at that place."""


class StoreIncompleteError(StoreError, RuntimeError):
    """The store's build was interrupted; building again goes on where it stopped."""


class StoreMismatchError(StoreError, ValueError):
    """The store was made of something else than what it is opened with; names the field."""


class StoreVersionError(StoreError, ValueError):
    """The store was written in a format that this version of headwater doesn't know."""


class StoreCorruptError(StoreError, ValueError):
    """A file of the store is missing, cut off, changed, or of another store."""


class StoreUnsafeError(StoreError, ValueError):
    """The store points to something outside of its folder; it was not read."""


class StoreLockedError(StoreError, RuntimeError):
    """Another process is writing to the store."""


class StoreWriteError(StoreError, OSError):
    """The store can't be written (a full disk, most often); it is as it was before."""


class ConvergenceError(HeadwaterError, ArithmeticError):
    """A convex model's minimum wasn't reached, or the model isn't convex."""


class BankError(HeadwaterError):
    """Something is wrong with a bank of retrained models."""


class BankNotFoundError(BankError, FileNotFoundError):
    """There is no bank of retrained models at that place."""


class BankIncompleteError(BankError, RuntimeError):
    """The bank's building was interrupted; building again goes on where it stopped."""


class BankMismatchError(BankError, ValueError):
    """The bank was made of something else than what it is used with; names what differs.

    Attributes:
        differs: by name, what is there and what came; empty texts for what has no words.
        path: the bank's folder.
    """

    def __init__(
        self,
        message: str,
        *,
        differs: dict[str, tuple[str, str]] | None = None,
        path: object = None,
    ) -> None:
        super().__init__(message)
        self.differs = {} if differs is None else differs
        self.path = path


class BankVersionError(BankError, ValueError):
    """The bank was written in a format that this version of headwater doesn't know."""


class BankCorruptError(BankError, ValueError):
    """A file of the bank is cut off, changed, or of another bank."""


class BankLockedError(BankError, RuntimeError):
    """Another process is building the bank."""


class BankWriteError(BankError, OSError):
    """The bank can't be written (a full disk, most often); what was committed is there."""


class CaptumArgumentError(InputError, AssertionError):
    """An argument that Captum refuses by an assertion; only from `headwater.compat.captum`."""


class CaptumLossError(LossError, AssertionError):
    """A loss that Captum refuses by an assertion; only from `headwater.compat.captum`."""


class CaptumLayerError(SelectionError, AttributeError):
    """A layer that Captum looks up in vain; only from `headwater.compat.captum`."""


class HeadwaterWarning(UserWarning):
    """Something that changes the answer was assumed; the message says what, and how to say it."""
