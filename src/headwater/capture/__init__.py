"""Per-example gradients of the selected parameters of any module."""

from headwater.capture import rules as _rules  # registers the built-in rules
from headwater.capture import stand_ins as _stand_ins  # and stand-ins
from headwater.capture.borrowed import borrowed, eager
from headwater.capture.capture import Capture
from headwater.capture.independence import cuts_into_examples
from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.plan import PlanChanged
from headwater.capture.registry import register_rule
from headwater.capture.selection import select

__all__ = [
    "Capture",
    "LayerCall",
    "NotPerExample",
    "PlanChanged",
    "borrowed",
    "cuts_into_examples",
    "eager",
    "register_rule",
    "select",
]

del _rules, _stand_ins
