"""Damage to files: of their bytes, of the text in them, of the structure they have.

Every mutation is a function of the bytes and a `random.Random`, so a case is known by
its seed.
"""

import ast
import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

NUMBERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32,
    2**40, 2**47, 2**62, 2**63 - 1, 2**63, 2**64, -(2**31), -(2**63), 10**19, 10**400,
)  # fmt: skip

WORDS = (
    "", " ", "../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "\x1b[31mred\x1b[0m",
    "two\nlines", "tab\there", "\x00", "\x7f", "[bold]markup[/bold]", "<script>",
    "\u202egnp", "将棋", "é" * 300, "9" * 5000, "-1", "1e999", "-0", "NaN", "Infinity",
    "true", "None", "O", "|O", "<M8[ns]", "V2147483647", "<f16", "S999999999", "U0",
    "cpu", "cuda:0", "policy_head", "vit", "%TORYO", "変化：1手", "まで1手", "P-00AL",
)  # fmt: skip


def mutated(
    data: bytes, others: Sequence[bytes], own: Sequence[Mutation], random: Random
) -> bytes:
    """Damage data one to four times.

    Args:
        data: a sound file.
        others: more of its kind, to splice with.
        own: mutations that know the structure; taken as often as the general ones.
        random: decides.
    """
    times = random.choice((1, 1, 1, 2, 4))
    for _ in range(times):
        if own and random.random() < 0.6:
            data = random.choice(own)(data, random)
        elif others and random.random() < 0.1:
            data = spliced(data, random.choice(others), random)
        else:
            data = random.choice(GENERAL)(data, random)
    return data


def _at(data: bytes, random: Random) -> int:
    """Choose a place, more often near the ends, where headers and footers are."""
    size = len(data)
    near = random.random()
    if near < 0.4:
        return random.randrange(min(size, 256) + 1)
    if near < 0.6:
        return max(0, size - random.randrange(1, 1024))
    return random.randrange(size + 1)


def flipped(data: bytes, random: Random) -> bytes:
    """Flip a few bits."""
    if not data:
        return b"\x00"
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = min(_at(data, random), len(data) - 1)
        changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, random: Random) -> bytes:
    """Write an integer of 1 to 8 bytes, as a size or an offset would be."""
    width = random.choice((1, 2, 4, 4, 8, 8))
    at = _at(data, random)
    if random.random() < 0.7:
        at -= at % width
    number = random.choice((*NUMBERS, random.randrange(2**16), len(data)))
    part = (number % 256**width).to_bytes(width, random.choice(("little", "big")))
    return data[:at] + part + data[at + width :]


def nudged(data: bytes, random: Random) -> bytes:
    """Add a little to an integer that is there."""
    width = random.choice((2, 4, 8))
    at = _at(data, random)
    at -= at % width
    number = int.from_bytes(data[at : at + width], "little") + random.choice(
        (-8, -1, 1, 8)
    )
    part = (number % 256**width).to_bytes(width, "little")
    return data[:at] + part + data[at + width :]


def truncated(data: bytes, random: Random) -> bytes:
    """Cut the end off."""
    return data[: _at(data, random)]


def extended(data: bytes, random: Random) -> bytes:
    """Put bytes at the end."""
    return data + random.randbytes(random.choice((1, 4, 38, 40, 1000)))


def removed(data: bytes, random: Random) -> bytes:
    """Take a stretch out."""
    at = _at(data, random)
    return data[:at] + data[at + random.choice((1, 2, 8, 64, 1000)) :]


def inserted(data: bytes, random: Random) -> bytes:
    """Put bytes or a word in."""
    at = _at(data, random)
    word = random.choice(WORDS).encode("utf-8", "surrogatepass")
    part = random.choice((word, random.randbytes(random.choice((1, 2, 8, 64)))))
    return data[:at] + part + data[at:]


def repeated(data: bytes, random: Random) -> bytes:
    """Repeat a stretch, sometimes thousands of times."""
    at = _at(data, random)
    length = random.choice((1, 1, 4, 16, 100))
    part = data[at : at + length]
    return data[:at] + part * random.choice((2, 3, 100, 20_000 // length)) + data[at:]


def spliced(data: bytes, other: bytes, random: Random) -> bytes:
    """Join the head of one file to the tail of another."""
    return data[: _at(data, random)] + other[_at(other, random) :]


GENERAL: tuple[Mutation, ...] = (
    flipped, flipped, overwritten, overwritten, nudged, truncated, extended, removed,
    inserted, repeated,
)  # fmt: skip


def lines_changed(data: bytes, random: Random) -> bytes:
    """Take out, repeat or swap lines, or change a number or word in one."""
    lines = data.split(b"\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.randrange(5)
    if what == 0:
        del lines[i]
    elif what == 1:
        lines[i:i] = [lines[j]] * random.choice((1, 2, 50))
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        number = str(random.choice(NUMBERS)).encode()
        lines[i] = b"".join(
            number if 48 <= c <= 57 and random.random() < 0.3 else bytes([c])
            for c in lines[i]
        )
    else:
        head = lines[i][: random.randrange(len(lines[i]) + 1)]
        lines[i] = head + random.choice(WORDS).encode() + lines[i][len(head) :]
    return b"\n".join(lines)


def changed_value(value: Any, random: Random, depth: int = 0) -> Any:
    """Change one place in nested lists, tuples and dictionaries."""
    if isinstance(value, dict) and value and depth < 8 and random.random() < 0.85:
        changed = dict(value)
        key = random.choice(list(changed))
        what = random.random()
        if what < 0.1:
            del changed[key]
        elif what < 0.2:
            changed[random.choice(WORDS)] = changed.pop(key)
        elif what < 0.25:
            changed[random.choice(WORDS)] = changed[key]
        else:
            changed[key] = changed_value(changed[key], random, depth + 1)
        return changed
    if (
        isinstance(value, (list, tuple))
        and value
        and depth < 8
        and random.random() < 0.8
    ):
        changed_list = list(value)
        i = random.randrange(len(changed_list))
        what = random.random()
        if what < 0.1:
            del changed_list[i]
        elif what < 0.2:
            changed_list.append(changed_list[i])
        else:
            changed_list[i] = changed_value(changed_list[i], random, depth + 1)
        return type(value)(changed_list)
    return _strange(value, random)


def _strange(value: Any, random: Random) -> Any:
    """Give another value, often of the same kind."""
    if isinstance(value, bool) or random.random() < 0.3:
        return random.choice(
            (None, True, False, [], {}, [[]], 1.5, float("nan"), float("inf"), "x", -1)
        )
    if isinstance(value, (int, float)):
        return random.choice((*NUMBERS[:-1], value + 1, value - 1, 0.5, -value))
    return random.choice(WORDS)


def json_changed(data: bytes, random: Random) -> bytes:
    """Change a JSON document somewhere in its structure, or nest it deeply."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return flipped(data, random)
    if random.random() < 0.03:
        return b"[" * 100_000
    text = json.dumps(changed_value(value, random))
    if random.random() < 0.05:  # a key that comes twice
        text = text.replace("{", '{"a": 1, "a": 2, ', 1)
    return text.encode()


def npy_header_changed(data: bytes, random: Random) -> bytes:
    """Change the dictionary in a `.npy` header and keep its length right."""
    if len(data) < 12:
        return data
    size = int.from_bytes(data[8:10], "little")
    text, rest = data[10 : 10 + size].decode("latin1"), data[10 + size :]
    if random.random() < 0.5:
        try:
            changed = repr(changed_value(ast.literal_eval(text.strip()), random))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            changed = text
    else:
        piece = random.choice(
            (
                "(" * 300,
                "[" * 5000,
                "-" * 9000,
                "1+1j",
                "'O'",
                "u'x'",
                "\\x41",
                "#",
                "L",
                "lambda: 0",
                "__import__('os')",
            )
        )
        at = random.randrange(len(text) + 1)
        changed = text[:at] + piece + text[at:]
    encoded = changed.encode("latin1", "replace") + b"\n"
    return data[:8] + struct.pack("<H", min(len(encoded), 65535)) + encoded + rest


def safetensors_header_changed(data: bytes, random: Random) -> bytes:
    """Change the JSON header of a safetensors file and keep its length right."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data):
        return data
    header = json_changed(data[8 : 8 + size], random)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]
