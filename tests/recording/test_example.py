"""The recording of version 1 that is kept with the tests stays readable, number by number."""

from safetensors.torch import load_file

from headwater import CheckpointSeries

from .example import FOLDER, write


def facts(folder):
    series = CheckpointSeries.open(folder, rates="effective")
    return [
        (
            c.step,
            c.loss,
            c.rates,
            {key: value.tolist() for key, value in load_file(c).items()},
            {kind: {k: v.tolist() for k, v in each.items()} for kind, each in c.moments().items()},
        )
        for c in series
    ]


def test_a_recording_of_version_1_is_read_as_it_was_meant():
    first, second = facts(FOLDER)
    assert first == (0, 4.0, (1.0, 0.5), {"weight": [[1.0, -2.0]], "bias": [0.0]}, {})
    # Two updates: of 0.5, and of 0.5 * (1 + 0.5).
    assert second == (
        2,
        2.5,
        (1.0, 0.5),
        {"weight": [[-0.25, -3.25]], "bias": [-0.625]},
        {"momentum_buffer": {"weight": [[1.5, 1.5]], "bias": [1.5]}},
    )
    (layout,) = {
        tuple(g.parameters for g in c.groups)
        for c in CheckpointSeries.open(FOLDER, rates="recorded")
    }
    assert layout == (("weight",), ("bias",))


def test_it_is_what_is_written_today(tmp_path):
    write(tmp_path / "run")
    assert facts(tmp_path / "run") == facts(FOLDER)
    names = {path.name for path in FOLDER.rglob("*")}
    assert {path.name for path in (tmp_path / "run").rglob("*")} - {".lock"} == names
