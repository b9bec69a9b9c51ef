"""`kill -9` at random moments: going on always works, and ends as if nothing was."""

import random

import pytest

from chaos import SCENARIOS, Chaos, make_games, make_stages


@pytest.mark.parametrize(("scenario", "rounds"), [("plain", 17), ("staged", 8)])
def test_kills_change_nothing(processes, memory_folder, scenario, rounds):
    make_games(memory_folder / "data")
    if scenario == "staged":
        make_stages(memory_folder / "data")
    dice = random.Random(rounds)
    chaos = Chaos(processes, memory_folder / "data", SCENARIOS[scenario], dice)
    report = chaos.run(rounds)
    assert report.kills.total() == rounds
    assert report.completed >= 1
