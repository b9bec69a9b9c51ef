"""The command that goes on with a run."""

from pathlib import Path

import pytest

from maou.way_on import WayOn


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("", "--upload-timeout 600"),
        ("--upload-timeout 0", "--upload-timeout 600"),
        (
            "--seed 1 --upload-timeout 0.5 --lr 1",
            "--seed 1 --lr 1 --upload-timeout 600",
        ),
    ],
)
def test_another_timeout_takes_the_place_of_the_old_one(flags, wanted):
    way_on = WayOn(Path("run"), Path("run/epoch-1"), flags)
    begin = "maou learn-model --resume-from run/epoch-1"
    assert way_on.command_with(600.0) == f"{begin} {wanted}"
    assert way_on.command == f"{begin} {flags}".rstrip()
