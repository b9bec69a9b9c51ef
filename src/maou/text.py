"""Text that others chose (names of files, of columns, of tensors) made fit to show.

A name may hold what moves a terminal's cursor, begins a new line or hides itself.
"""

_KEPT = "\u3000"
"""Not printable by Python's reckoning, and harmless: the wide blank of Japanese."""


def printable(text: str, keep: str = "") -> str:
    """Write characters that cannot be seen as escapes, such as `\\x1b`.

    Args:
        text: any text.
        keep: characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in _KEPT or char in keep
        else char.encode("unicode_escape").decode()
        for char in text
    )


def shortened(text: str, most: int = 300) -> str:
    """Cut a text that is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
