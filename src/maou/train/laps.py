"""Where an instrument learns of the phases of a step; a training run keeps no time."""

PHASES = ("data", "transfer", "forward", "loss", "backward", "optimizer")
"""What a step consists of, in order; with accumulation, the middle four repeat."""


class Laps:
    """Told at the end of each phase; a subclass keeps the time."""

    def lap(self, phase: str) -> None:
        """Note that a phase ended now and the next one begins."""


NO_LAPS = Laps()
