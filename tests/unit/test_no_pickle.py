"""Nothing is pickled; a pickle that somebody gives is read as plain tensors only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import maou

SOURCE = Path(maou.__file__).parent
UNSAFE = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def _calls() -> list[tuple[str, ast.Call]]:
    return [
        (ast.unparse(node.func), node)
        for _, node in _nodes()
        if isinstance(node, ast.Call)
    ]


def _given(call: ast.Call, name: str) -> object:
    values = [word.value for word in call.keywords if word.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def test_no_module_reads_or_writes_pickles():
    for path, node in _nodes():
        if path.name in ("arrivals.py", "fetching.py"):
            continue  # a process and its child, which talk through a pipe
        if isinstance(node, ast.Import):
            assert not {name.name for name in node.names} & UNSAFE, path
        elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE:
            # Only to name what torch.load raises.
            assert [name.name for name in node.names] == ["PickleError"], path


def test_torch_reads_plain_tensors_only():
    loads = [call for name, call in _calls() if name == "torch.load"]
    assert loads
    assert all(_given(call, "weights_only") is True for call in loads)


def test_torch_and_numpy_write_no_pickles():
    for name, call in _calls():
        assert name not in ("torch.save", "np.savez", "eval", "exec"), ast.unparse(call)
        assert _given(call, "allow_pickle") is not True, ast.unparse(call)
