"""A form around another one."""

from __future__ import annotations

from headwater.forms.form import Form


class Around(Form):
    """A form of the examples and positions of another one, which is an attribute of it."""

    form: Form

    @property
    def batch_size(self) -> int:
        return self.form.batch_size

    @property
    def positions(self) -> int:
        return self.form.positions

    @property
    def numbers(self) -> int:
        return self.form.numbers
