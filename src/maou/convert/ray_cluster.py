"""A Ray cluster for `--engine ray`. The only place that imports ray.

The cluster is found by Ray's own means: --ray-address, RAY_ADDRESS, one that runs on
this machine; where there is none, one is started here and ended with the run.
"""

import contextlib
import importlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from maou import __version__
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.ray_tasks import version
from maou.errors import ConfigError, MaouError, RemoteError

_AHEAD = 2  # tasks handed in for each that runs, so that none waits for the driver
_RETRIES = 5  # of a task whose worker dies
_ANSWER_SECONDS = 10

Answer = list[Any]
"""References to what a task returns."""


class LostObjectsError(Exception):
    """A node died with spilled rows."""


@contextlib.contextmanager
def connected(config: PreProcessConfig) -> Iterator["Cluster"]:
    """Connect to the cluster; leave it at the end, unless it was connected before.

    Raises:
        ConfigError: the extra is not installed, or the nodes have another maou.
        RemoteError: there is no cluster at the address, or it has no CPUs.
    """
    # Any: ray's own annotations do not hold for its decorators.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ConfigError(
            "--engine ray: needs the extra ray; install it with pip install "
            "'maou[ray]' or poetry install -E ray"
        ) from None
    if ray.is_initialized():
        yield Cluster(ray, config)
        return
    handler = signal.getsignal(signal.SIGTERM)  # which ray replaces
    where = config.ray_address or os.environ.get("RAY_ADDRESS") or "this machine"
    try:
        _require_answer(where)
        ray.init(
            address=config.ray_address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except Exception as error:
        raise RemoteError(
            f"--engine ray: no cluster at {where} ({_line(error)}); start one (ray "
            "start --head) and give its address by --ray-address or RAY_ADDRESS"
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)
    try:
        yield Cluster(ray, config)
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Try the port first: ray itself waits for minutes.

    Raises:
        OSError: nothing listens there.
    """
    found = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if found:
        socket.create_connection((found[1], int(found[2])), _ANSWER_SECONDS).close()


class Cluster:
    """The tasks of one run on a cluster.

    Attributes:
        cpus: how many tasks run at a time.
    """

    def __init__(self, ray: Any, config: PreProcessConfig) -> None:
        """Ask the cluster what it has.

        Raises:
            ConfigError: its workers have another version of maou.
            RemoteError: it has no CPUs, or its workers have no maou.
        """
        self._ray = ray
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < 1:
            raise RemoteError(
                "--engine ray: the cluster has no CPUs; add nodes (ray start --address)"
            )
        self.cpus = min(cpus, config.workers or cpus)
        self._window = config.workers or _AHEAD * cpus
        self._memory: int | None = None
        (answer,) = self.task(version, 1)()
        theirs = self._result(answer)
        if theirs != __version__:
            raise ConfigError(
                f"--engine ray: the cluster's nodes have maou {theirs}, and this is "
                f"{__version__}; install the same version on all"
            )

    def require(self, memory: int, setting: str) -> None:
        """Have the scheduler keep so much memory for each task from here on.

        Args:
            memory: bytes.
            setting: what it was made from, for the message.

        Raises:
            ConfigError: no node has so much.
        """
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        most = max(int(node["Resources"].get("memory", 0)) for node in nodes)
        if most < memory:
            raise ConfigError(
                f"{setting}: no node of the Ray cluster has {memory / 1e6:.0f} MB for "
                f"a task; the largest has {most / 1e6:.0f} MB. Give less"
            )
        self._memory = memory

    def task(self, function: Callable[..., Any], returns: int) -> Callable[..., Answer]:
        """Make a function whose call runs on the cluster.

        Args:
            function: what to run, of a module of ours.
            returns: how many values it returns; as references of their own.
        """
        options: dict[str, Any] = {"num_returns": returns, "max_retries": _RETRIES}
        if self._memory is not None:
            options["memory"] = self._memory
        remote = self._ray.remote(function).options(**options)

        def call(*arguments: Any) -> Answer:
            with self._translated():
                made = remote.remote(*arguments)
            return [made] if returns == 1 else made

        return call

    def flow(
        self, answers: Iterator[Answer], done: Callable[[Answer, Any], None]
    ) -> None:
        """Run tasks, some at a time, and take up each answer when it is there.

        Args:
            answers: hands in a task whenever its next item is taken.
            done: called with an answer and its first value, in any order.

        Raises:
            MaouError: as the task raised it.
            LostObjectsError: what a task needs was lost with its node.
            RemoteError: the cluster cannot run it.
        """
        waiting: dict[Any, Answer] = {}
        ended = False
        while waiting or not ended:
            while not ended and len(waiting) < self._window:
                answer = next(answers, None)
                ended = answer is None
                if answer is not None:
                    waiting[answer[0]] = answer
            if waiting:
                with self._translated():
                    (ready, *_), _ = self._ray.wait(list(waiting), num_returns=1)
                done(waiting.pop(ready), self._result(ready))

    def _result(self, reference: Any) -> Any:
        with self._translated():
            return self._ray.get(reference)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn Ray's errors into ours."""
        errors = self._ray.exceptions
        try:
            yield
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, MaouError):
                raise cause from None
            if isinstance(cause, (errors.ObjectLostError, errors.NodeDiedError)):
                raise LostObjectsError from error
            if isinstance(cause, ImportError) or "ModuleNotFoundError" in str(cause):
                raise RemoteError(
                    "--engine ray: a worker cannot load maou; install the same version "
                    f"with the same extras on all nodes ({_line(cause)})"
                ) from error
            raise RemoteError(
                f"--engine ray: the cluster failed: {_line(cause)}; run again to go on"
            ) from error


def _line(error: BaseException) -> str:
    """Return the last line of an error's text, which says what it was."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
