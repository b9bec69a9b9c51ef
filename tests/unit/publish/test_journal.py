"""The journal of uploads survives being cut off anywhere."""

import json

from maou.publish.journal import FOLDER, Journal, Sent

STORE = "s3://bucket/base"


def test_what_was_noted_is_known_later(tmp_path):
    journal = Journal(tmp_path, STORE)
    journal.settle("run-1")
    journal.begin("a", "upload-7", "11")
    journal.note("b", Sent("22", "v1", 7))
    journal.note("c", Sent("33", "v1"))
    journal.forget("c")
    again = Journal(tmp_path, STORE)
    assert (again.id, again.place) == (journal.id, "run-1")
    assert again.sent == {"b": Sent("22", "v1", 7)}
    assert again.started == {"a": ("upload-7", "11")}
    again.note("a", Sent("11", "v2"))
    assert Journal(tmp_path, STORE).started == {}


def test_a_journal_of_another_place_counts_for_nothing(tmp_path):
    journal = Journal(tmp_path, STORE)
    journal.note("a", Sent("11", "v1"))
    other = Journal(tmp_path, "s3://bucket/elsewhere", known="fetched")
    assert (other.id, other.place, other.sent) == ("fetched", None, {})


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    journal = Journal(tmp_path, STORE)
    journal.note("a", Sent("11", "v1"))
    journal.note("b", Sent("22", "v1"))
    path = tmp_path / FOLDER / "journal.jsonl"
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = Journal(tmp_path, STORE)
        assert found.sent.items() <= journal.sent.items()
        assert (found.id == journal.id) == (length >= head)
        found.note("z", Sent("33", "v1"))
        assert Journal(tmp_path, STORE).sent["z"] == Sent("33", "v1")
        assert all(json.loads(line) for line in path.read_text().splitlines())
