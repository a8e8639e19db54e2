"""What a batch of per-example gradients is, and the algebra on it."""

from headwater.forms.banded import Banded
from headwater.forms.convolved import Convolved
from headwater.forms.dot import dot
from headwater.forms.factored import Factored
from headwater.forms.form import Form
from headwater.forms.gradients import Gradients
from headwater.forms.layer_projected import LayerProjection
from headwater.forms.materialised import Materialised
from headwater.forms.outputs import OfOutputs, Outputs
from headwater.forms.projected import Projected, Projection
from headwater.forms.reduced import Reduced
from headwater.forms.rows import Rows
from headwater.forms.scaled import Scaled
from headwater.forms.summed import Summed

__all__ = [
    "Banded",
    "Convolved",
    "Factored",
    "Form",
    "Gradients",
    "LayerProjection",
    "Materialised",
    "OfOutputs",
    "Outputs",
    "Projected",
    "Projection",
    "Reduced",
    "Rows",
    "Scaled",
    "Summed",
    "dot",
]
