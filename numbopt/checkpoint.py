"""Checkpoints: what a run needs to continue, in one file that is written whole or not at all."""

import contextlib
import functools
import io
import math
import os
import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from numbopt._devices.arrays import Array, as_device_array, is_device_array, to_host
from numbopt._parameters.groups import as_groups, as_parameters
from numbopt._parameters.names import by_name, in_order
from numbopt.parameter import Parameter, checked_values

if TYPE_CHECKING:  # here and in functions, as others, so that importing numbopt takes less time
    import zipfile

# A checkpoint is a zip file that `numpy.load` can read too: the first member is the tree of plain values as JSON, the
# others are its arrays. The comment, with which a zip file ends, says the format and the SHA-256 of all that precedes.
_FORMAT = 1
_TREE = "numbopt.json"
_SEAL = re.compile(rb"numbopt checkpoint, format (\d{1,9}), sha256 ([0-9a-f]{64})\Z")
_DIGEST_SIZE = 64
_SEAL_SIZE_MAX = 128
_DEEPEST = 100


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, comes from a newer version, or lacks what is asked of it."""


def save(
    path: str | os.PathLike[str],
    /,
    *,
    optimizer: Any = None,
    scheduler: Any = None,
    parameters: Any = None,
    **extra: Any,
) -> None:
    """Write a checkpoint: a ``.npz`` file with the state of a run.

    It takes the place of an older file only when it is complete and on the disk: whenever the process is killed or the
    disk is full, the file under ``path`` is the old one or the new one. (A killed process may leave a temporary file
    ``.numbopt-*.tmp`` beside it.)

    Parameters
    ----------
    path : str or path-like
        The file, with the extension that you want.
    optimizer, scheduler : object, optional
        With a method ``state_dict``; or a list or dict of them.
    parameters : iterable, optional
        In any form that optimizers take, or an optimizer, whose parameters are meant.
    **extra
        More objects with ``state_dict``, such as averages or a `History`, and plain values: None, bool, int, float,
        complex, str, numeric arrays, NumPy's numbers, and lists, tuples and dicts of them with keys of str or int. A
        Parameter stands for its data.

    Raises
    ------
    TypeError
        If something cannot be stored; it is named, and nothing has been written.
    ValueError
        If something contains itself.
    OSError
        If the file cannot be written; the old one is as it was.

    See Also
    --------
    load : read it, and continue from it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adam([x], lr=0.1)
    >>> rng = np.random.default_rng(0)
    >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
    >>> numbopt.save(path, optimizer=opt, parameters=[x], epoch=3, rng=rng.bit_generator.state)
    >>> numbopt.load(path)["epoch"]
    3
    """
    import json

    entries = {"optimizer": optimizer, "scheduler": scheduler}
    if parameters is not None:
        entries["parameters"] = _values_of(parameters)
    arrays: dict[str, Array] = {}
    tree = _encoded({**{key: value for key, value in entries.items() if value is not None}, **extra}, (), arrays)
    _write(os.path.realpath(os.fsdecode(path)), json.dumps(tree, allow_nan=False), arrays)


def load(
    path: str | os.PathLike[str],
    /,
    *,
    optimizer: Any = None,
    scheduler: Any = None,
    parameters: Any = None,
    **extra: Any,
) -> dict[str, Any]:
    """Read a checkpoint, and continue from it: all that is given is restored, or nothing is.

    Parameters
    ----------
    path : str or path-like
        A file that `save` wrote.
    optimizer, scheduler : object, optional
        With ``load_state_dict``, or a list or dict of them as it was saved: they get their state back.
    parameters : iterable, optional
        In any form that `save` takes: the values are copied into them, matched by name where both sides have names, by
        order otherwise.
    **extra
        More objects with ``load_state_dict``.

    Returns
    -------
    dict
        All that was saved, under the names of the arguments of `save`; for objects, what their ``state_dict`` returned.
        Every value is equal and of the same type as before, floating point numbers bit for bit.

    Raises
    ------
    CheckpointError
        If the file is not a checkpoint, is damaged, was written by a newer numbopt, or lacks what is to be restored.
    TypeError, ValueError
        If a saved state or value does not fit what is to be restored; nothing has changed then.
    OSError
        If the file cannot be read, for example FileNotFoundError.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, numbopt
    >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
    >>> numbopt.save(path, parameters={"w": np.array([2.0, -1.0])}, losses=[0.5, float("inf")])
    >>> w = np.zeros(2)
    >>> numbopt.load(path, parameters={"w": w})["losses"]
    [0.5, inf]
    >>> w
    array([ 2., -1.])
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        entries = _read(file, path)
    targets = {"optimizer": optimizer, "scheduler": scheduler, "parameters": parameters, **extra}
    _restore({key: target for key, target in targets.items() if target is not None}, entries, path)
    return entries


# ---- parameters


def _named(parameters: Any) -> tuple[list[Parameter], list[str | None]]:
    """Return parameters, given in any form, and their names."""
    groups = getattr(parameters, "param_groups", None)
    found: list[Parameter] = []
    names: list[str | None] = []
    for group in as_groups(parameters if groups is None else groups):
        some, given = as_parameters(group["params"])
        found += some
        names += given or group.get("param_names") or [parameter.name for parameter in some]
    return found, names


def _values_of(parameters: Any) -> dict[str | None, Array] | list[Array]:
    """Return the data of parameters, by name if each has one of its own."""
    found, names = _named(parameters)
    return by_name(names, [to_host(parameter.array) for parameter in found])


def _matched(saved: Any, parameters: Any, path: str) -> list[tuple[Parameter, Array]]:
    """Return each of ``parameters`` with the values that it is to have, checked."""
    found, names = _named(parameters)
    try:
        values = in_order(saved, names, path)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    pairs = list(zip(found, values, strict=True))
    return [(parameter, checked_values(value, parameter, "saved data")) for parameter, value in pairs]


# ---- restoring


def _restore(targets: dict[str, Any], entries: dict[str, Any], path: str) -> None:
    """Load the entries into the targets of the same name, all or none."""
    values: list[tuple[Parameter, Array]] = []
    states: list[tuple[str, Any, Any]] = []
    for key, target in targets.items():
        if key not in entries:
            raise CheckpointError(f"{path} holds no {key!r}; it holds {list(entries)}")
        if key == "parameters":
            values = _matched(entries[key], target, path)
        else:
            states += _states(entries[key], target, key, path)
    before = [target.state_dict() for _, target, _ in states]
    for number, (where, target, state) in enumerate(states):
        try:
            target.load_state_dict(state)
        except BaseException as error:
            for touched in range(number, -1, -1):
                states[touched][1].load_state_dict(before[touched])
            error.add_note(f"while restoring {where!r} from {path}; everything is as it was before")
            raise
    for parameter, value in values:
        parameter.data = value


def _states(saved: Any, target: Any, where: str, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the objects in ``target``, a single one or a list or dict of them, with the states they are to have."""
    if hasattr(target, "load_state_dict"):
        if not isinstance(saved, dict):
            raise CheckpointError(f"{where!r} in {path} is no state dict but a {type(saved).__name__}")
        yield where, target, saved
    elif isinstance(target, (list, tuple, dict)):
        items = target.items() if isinstance(target, dict) else enumerate(target)
        expected = list(target) if isinstance(target, dict) else list(range(len(target)))
        present = list(saved) if isinstance(saved, dict) else list(range(len(saved)))
        if isinstance(target, dict) != isinstance(saved, dict) or set(expected) != set(present):
            raise CheckpointError(f"{where!r} in {path} has the entries {present}, asked for are {expected}")
        for key, item in items:
            yield from _states(saved[key], item, f"{where}/{key}", path)
    else:
        raise TypeError(
            f"{where!r} cannot be restored in place: a {type(target).__name__} has no load_state_dict; take the value "
            f"from load(...)[{where!r}]"
        )


# ---- plain values as JSON


def _encoded(value: Any, where: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """Return ``value`` as what JSON has, putting its arrays into ``arrays``; every JSON object is a tag and a value."""
    if len(where) > _DEEPEST:
        raise ValueError(f"cannot save {where[0]!r}: it contains itself, or is nested deeper than {_DEEPEST} levels")
    if not isinstance(value, type) and callable(getattr(value, "state_dict", None)):
        value = value.state_dict()
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else {"int": hex(value)}  # decimals are limited to 4300 digits
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is complex:
        return {"complex": [_encoded(part, where, arrays) for part in (value.real, value.imag)]}
    if kind in (list, tuple):
        items = [_encoded(item, (*where, str(number)), arrays) for number, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        for key in value:
            if type(key) not in (str, int):
                raise _cannot_save(key, (*where, repr(key)), "a key of a dict must be a str or an int")
        pairs = [(_encoded(key, where, arrays), key, item) for key, item in value.items()]
        return {"dict": [[code, _encoded(item, (*where, str(key)), arrays)] for code, key, item in pairs]}
    if isinstance(value, Parameter):
        value = value.array
    if is_device_array(value):
        value = as_device_array(value).copy_to_host()
    if isinstance(value, np.generic):
        _check_dtype(value, where)
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    if type(value) in (np.ndarray, np.memmap):
        _check_dtype(value, where)
        name = "/".join(re.sub(r"[^\w-]", "_", part, flags=re.ASCII) or "_" for part in where)[:200]
        name = f"{name}~{len(arrays)}" if name in arrays else name
        arrays[name] = value
        return {"array": name}
    raise _cannot_save(value, where, "a checkpoint holds plain values, numeric arrays and objects with state_dict")


def _check_dtype(value: Any, where: tuple[str, ...]) -> None:
    if value.dtype.kind not in "biufc" or value.dtype.isbuiltin == 2:  # 2: a type that some package registered
        raise _cannot_save(value, where, f"its dtype {value.dtype} is not one of NumPy's numbers")


def _cannot_save(value: Any, where: tuple[str, ...], why: str) -> TypeError:
    return TypeError(f"cannot save {'/'.join(where)!r}, a {type(value).__name__}: {why}")


def _decoded(code: Any, archive: "zipfile.ZipFile") -> Any:
    """Return the value that `_encoded` made ``code`` of."""
    if isinstance(code, list):
        return [_decoded(item, archive) for item in code]
    if not isinstance(code, dict):
        return code
    ((tag, content),) = code.items()
    match tag:
        case "dict":
            return {_decoded(key, archive): _decoded(item, archive) for key, item in content}
        case "tuple":
            return tuple(_decoded(item, archive) for item in content)
        case "int":
            return int(content, 16)
        case "float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "complex":
            return complex(*(_decoded(part, archive) for part in content))
        case "scalar":
            dtype, digits = content
            return np.frombuffer(bytes.fromhex(digits), dtype)[0]
        case "array":
            return _array(archive, f"{content}.npy")
    raise ValueError(f"unknown tag {tag!r}")


def _array(archive: "zipfile.ZipFile", name: str) -> Array:
    """Return an array, of which there is as much as its header says."""
    content = archive.read(name)
    length_size = {b"\1\0": 2, b"\2\0": 4}.get(content[6:8])
    if length_size is None:
        raise ValueError(f"{name} is no array in a format of NumPy")
    start = 8 + length_size + int.from_bytes(content[8 : 8 + length_size], "little")
    shape, is_fortran, dtype = _header(content[:start])
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects, which load does not take (allow_pickle=False)")
    if len(content) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} holds {len(content) - start} bytes for an array of shape {shape} and dtype {dtype}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if is_fortran else "C").copy(order="K")


@functools.lru_cache(maxsize=256)  # NumPy takes long to read one, and many arrays have the same
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype from the header of a file of NumPy."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


# ---- the file


def _write(path: str, tree: str, arrays: dict[str, Array]) -> None:
    """Write a file beside ``path``, flush it to the disk and give it the name ``path``."""
    import secrets
    import shutil
    import zipfile

    folder = os.path.dirname(path)
    _remove_leftovers(folder)
    temporary = os.path.join(folder, f"{_own_prefix()}{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "x+b") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.comment = f"numbopt checkpoint, format {_FORMAT}, sha256 ".encode() + b"0" * _DIGEST_SIZE
                archive.writestr(zipfile.ZipInfo(_TREE), tree)
                for name, array in arrays.items():
                    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            content = file.seek(0, os.SEEK_END) - _DIGEST_SIZE
            digest = _digest(file, content)
            file.seek(content)
            file.write(digest)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # there may be no old file
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can flush a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _own_prefix() -> str:
    """Return how names of files begin that processes on this machine have not finished."""
    import platform

    host = re.sub(r"[^\w-]", "_", platform.node(), flags=re.ASCII)[:40]
    return f".numbopt-{host}-"


def _remove_leftovers(folder: str) -> None:
    """Remove what processes of this machine that were killed have left."""
    if os.name != "posix":  # where nothing tells whether a process lives
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            match = re.fullmatch(re.escape(_own_prefix()) + r"(\d+)-[0-9a-f]{16}\.tmp", name)
            if match is None:
                continue
            try:
                os.kill(int(match[1]), 0)
            except ProcessLookupError:
                os.remove(os.path.join(folder, name))
            except OSError:  # a process of somebody else
                continue


def _check_members(archive: "zipfile.ZipFile", size: int) -> None:
    """Refuse what `_write` never writes, before memory is taken for it."""
    members = archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise ValueError("a member is there twice")
    if any(member.compress_type or member.flag_bits & 1 for member in members):
        raise ValueError("a member is compressed or encrypted")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its members claim to be larger than the file")


def _read(file: BinaryIO, path: str) -> dict[str, Any]:
    """Return what a file holds. Nothing in it is looked at before its checksum."""
    import json
    import zipfile

    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise CheckpointError(f"{path} is empty, not a checkpoint")
    file.seek(0)
    head = file.read(30 + len(_TREE))  # of a zip file: a signature, numbers, and from the 30th byte on a name
    if head[:4] != b"PK\3\4" or head[30:] != _TREE.encode():
        raise CheckpointError(f"{path} is not a checkpoint of numbopt, or its beginning is damaged")
    file.seek(max(0, size - _SEAL_SIZE_MAX))
    seal = _SEAL.search(file.read())
    if seal is None or seal[2] != _digest(file, size - _DIGEST_SIZE):
        raise CheckpointError(f"{path} is damaged or cut off: its checksum is missing or does not fit its content")
    if int(seal[1]) > _FORMAT:
        raise CheckpointError(
            f"{path} was written by a newer numbopt: it has format {int(seal[1])}, this version reads up to {_FORMAT}"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive, size)
            entries = _decoded(json.loads(archive.read(_TREE)), archive)
        if not isinstance(entries, dict):
            raise ValueError("its tree is no dict")
    except MemoryError:
        raise
    except Exception as error:  # the checksum fits, so that numbopt did not write this
        raise CheckpointError(f"{path} is not a valid checkpoint: {error}") from error
    return entries


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256 of the first ``size`` bytes in hexadecimal digits."""
    import hashlib

    digest = hashlib.sha256()
    file.seek(0)
    while size and (chunk := file.read(min(size, 2**20))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
