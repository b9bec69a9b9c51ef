"""SIGINT, SIGTERM, SIGHUP in the phases of a run: saved, told how to go on, gone on.

The process sends itself the signal at a call that only that phase makes.
"""

import re
import shlex
import signal

import pytest

from chaos import GO_ON, SHORT, outcome
from maou.checkpoint.manifest import verify_manifest
from system_faults import CREATE, LINK, MKDIR, SYNC, WRITE, Rule, signalled

HUP, INT, TERM = signal.SIGHUP, signal.SIGINT, signal.SIGTERM
THIRD = "epoch-0001-step-00000003"

PHASES: dict[str, tuple[Rule, str]] = {
    "logs begin": (signalled(INT, CREATE, "/events.out"), "Interrupted."),
    "validation before": (
        signalled(INT, WRITE, "/events.out", milliseconds=8),
        "Interrupted",
    ),
    "before step 1": (
        signalled(TERM, WRITE, "/metrics.jsonl", "validation"),
        "Interrupted after step 0",
    ),
    "a step": (signalled(INT, WRITE, needle="epoch 2  step"), "Interrupted after step"),
    "saving": (signalled(TERM, SYNC, f"{THIRD}.partial/opt"), "after step 3, saved as"),
    "linking": (signalled(INT, LINK, "/.best-value"), "after step 2, saved as"),
    "removing": (signalled(HUP, MKDIR, f".{THIRD}"), "after step 3, saved as"),
    "validation": (
        signalled(INT, WRITE, needle="step 2/4", milliseconds=4),
        "Interrupted after step 2",
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase(processes, run, expected, phase):
    rule, said = PHASES[phase]
    code, text = processes.run(run, rule, learn=SHORT)
    assert code == 128 + rule.argument % 1000, text
    assert said in text
    assert "Traceback" not in text
    assert "Error" not in text
    (folder,) = run.glob("m/*")
    if "saved as" in text:
        (saved,) = re.findall(r"saved as (\S+)\. Go on", text)
        verify_manifest(run / saved)
    command = f"maou learn-model --resume-from {folder.relative_to(run)}"
    assert text.rstrip().endswith(command), text
    code, text = processes.run(run, learn=shlex.split(command)[2:])
    assert code == 0, text
    assert "left behind" not in text  # it ended in order
    assert outcome(run) == expected


@pytest.mark.parametrize(("number", "code"), [(INT, 130), (TERM, 143)])
def test_reading_the_data(processes, run, number, code):
    """Nothing is written yet, so there is nothing to go on from."""
    ended, text = processes.run(
        run, signalled(number, WRITE, needle="Reading the shards"), learn=SHORT
    )
    assert ended == code
    assert text.rstrip().endswith("Interrupted.")
    assert not list(run.iterdir())


def test_the_command_repeats_what_was_changed(processes, run):
    """Until a checkpoint has it: the settings there are those of before."""
    code, text = processes.run(run, learn=SHORT)
    assert code == 0, text
    changed = ("--epoch", "3", "--log-dir", "other logs", "--pin-memory")
    (folder,) = run.glob("m/*")
    last = (folder / "last").readlink()
    command = f"maou learn-model --resume-from {folder.relative_to(run)}"
    repeated = f"{command}/{last} --pin-memory --epoch 3 --log-dir 'other logs'"
    for rule in (
        signalled(INT, WRITE, needle="training  "),  # the plan
        signalled(INT, CREATE, "/events.out"),  # just before the next step
    ):
        code, text = processes.run(run, rule, learn=(*GO_ON, *changed))
        assert code == 130, text
        assert text.rstrip().endswith(repeated), text
    stop = signalled(INT, WRITE, needle="validation after epoch 3")
    code, text = processes.run(run, stop, learn=shlex.split(repeated)[2:])
    assert code == 130, text
    assert text.rstrip().endswith(f"/{folder.name}"), text


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_second_signal_ends_it_at_once(processes, run, expected, number):
    code, text = processes.run(
        run,
        signalled(number, SYNC, f"{THIRD}.partial/model"),
        signalled(number, SYNC, f"{THIRD}.partial/.MANIFEST"),
        learn=SHORT,
    )
    assert code == 128 + number
    assert text.rstrip().endswith("Ended at once.")
    assert "Traceback" not in text
    (folder,) = run.glob("m/*")
    assert (folder / "last").readlink().name == "epoch-0001-step-00000002"
    verify_manifest((folder / "last").resolve())
    assert not list(folder.glob(f"{THIRD}*"))
    code, text = processes.run(run, learn=GO_ON)
    assert code == 0, text
    assert outcome(run) == expected


def test_while_settings_are_written(processes, run):
    code, text = processes.run(run, signalled(TERM, SYNC, "/.run.toml"), learn=SHORT)
    assert code == 143
    assert text.rstrip().endswith("Interrupted.")
    assert not list(run.rglob("*run.toml*"))


def test_while_workers_start(processes, run, expected):
    """The signal comes as the first worker is handed what it is to do."""
    rule = signalled(INT, WRITE, needle="_StreamInWorkers")
    code, text = processes.run(run, rule, learn=(*SHORT, "--dataloader-workers", "1"))
    assert code == 130, text
    assert "Interrupted after step 0" in text
    assert "Error" not in text
    code, text = processes.run(run, learn=(*GO_ON, "--dataloader-workers", "0"))
    assert code == 0, text
    assert outcome(run) == expected


def test_while_compiling(processes, run):
    cache = run / "compiled"
    code, text = processes.run(
        run,
        signalled(INT, CREATE | MKDIR, str(cache)),
        learn=(*SHORT, "--compilation"),
        environment={
            "TORCHINDUCTOR_CACHE_DIR": str(cache),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        },
    )
    assert code == 130, text
    assert "--resume-from m/" in text
    assert "Traceback" not in text


def test_while_exporting(processes, run):
    arguments = [word for word in SHORT if word != "--no-export-onnx"]
    rule = signalled(TERM, WRITE, "/.best.onnx")
    code, text = processes.run(run, rule, learn=arguments)
    assert code == 143, text
    assert "Interrupted. Go on with\n  maou learn-model --resume-from m/" in text
    (folder,) = run.glob("m/*")
    assert (folder / "best").readlink().name == "epoch-0002-step-00000004"
    assert not list(folder.rglob("*.onnx*"))
