"""A device that is not there: its tensors are kept apart from the host's, and what crosses is counted.

Its tensors say that they lie on ``lazy``, a kind of device of torch's own that nothing here runs on and whose backward
pass torch does in the calling thread. Inside each is a tensor of the CPU, which computes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy", 0)
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::_to_copy.out")
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Mixed(Exception):
    """An operation that a real device refuses: on tensors of host and device, or on a type that it does not have."""


class OnDevice(torch.Tensor):
    """A tensor of the device."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    inside: torch.Tensor

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inside.shape, inside.stride(), inside.storage_offset(), dtype=inside.dtype, device=DEVICE
        )
        made.inside = inside
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if Pretended.entered is None:
            raise Mixed(f"{func} on a device's tensor where no device is")
        return Pretended.entered.__torch_dispatch__(func, types, args, kwargs)  # of another thread

    def __repr__(self, **options: Any) -> str:
        return f"OnDevice({tuple(self.shape)})"


class Pretended(TorchDispatchMode):
    """Keeps host and device apart while it is entered.

    Attributes:
        doubles: whether the device has float64.
        to_host: places in the package that made the host wait for the device, one an event, in order.
    """

    entered: Pretended | None = None

    def __init__(self, doubles: bool = True) -> None:
        super().__init__()
        self.doubles = doubles
        self.to_host: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_flatten((args, kwargs))[0]
        devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
        on_device = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
        on_host = [
            leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, OnDevice)
        ]
        name = func._schema.name
        ends_there = devices[0].type == DEVICE.type if devices else bool(on_device)
        if name == "aten::copy_":
            ends_there = isinstance(args[0], OnDevice)
        if on_device and not self._crosses(name, args, on_host, ends_there):
            self._refuse_mixture(func, on_host)
            if self._waits(func, name, args):
                self.to_host.append(f"{name.removeprefix('aten::')} {_place()}")

        def inner(leaf: Any) -> Any:
            if isinstance(leaf, OnDevice):
                return leaf.inside
            if isinstance(leaf, torch.device) and leaf.type == DEVICE.type:
                return torch.device("cpu")
            return leaf

        out = func(*tree_map(inner, args), **tree_map(inner, kwargs))
        if func._schema.is_mutable:  # what is changed in place stays the object that it is
            same = {id(leaf.inside): leaf for leaf in on_device}
            return tree_map(lambda leaf: same.get(id(leaf), self._outer(leaf, ends_there)), out)
        return tree_map(lambda leaf: self._outer(leaf, ends_there), out)

    def _crosses(self, name: str, args: Any, on_host: list[torch.Tensor], ends_there: bool) -> bool:
        """Whether an operation is a copy from one to the other; those to the host are counted."""
        if name not in _COPIES:
            return False
        if not ends_there:
            self.to_host.append(f"copy {_place()}")
        return True

    @staticmethod
    def _refuse_mixture(func: Any, on_host: list[torch.Tensor]) -> None:
        if any(tensor.dim() for tensor in on_host):  # a scalar of the host is passed along with the call
            raise Mixed(f"{func} mixes host and device ({_place()})")

    @staticmethod
    def _waits(func: Any, name: str, args: Any) -> bool:
        """Whether the host has to know a value before it can go on."""
        if name in _INDEXED:  # by numbers nothing is waited for, by a mask until its length is known
            return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))

    def _outer(self, leaf: Any, there: bool) -> Any:
        if not isinstance(leaf, torch.Tensor) or not there:
            return leaf
        if not self.doubles and leaf.dtype in (torch.float64, torch.complex128):
            raise Mixed(f"float64 on a device that has none ({_place()})")
        return OnDevice(leaf)


class _Tensors(TorchFunctionMode):
    """What torch does without telling a dispatch mode: values to the device go by the host, and lists come so."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func is torch.tensor and device is not None and torch.device(device).type == DEVICE.type:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnDevice):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        if func is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


def _no_gradient(mode: bool = True) -> AbstractContextManager[None]:
    """In place of inference mode, which tensors with others inside do not have."""
    return torch.no_grad() if mode else nullcontext()


class _Autocast(torch.autocast):
    """The CPU's, for the device too."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


def _place() -> str:
    """The innermost line of the package that is running."""
    frame = sys._getframe(1)
    while frame is not None and "/peftcorr/" not in frame.f_code.co_filename.replace("\\", "/"):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "in a test"
    return f"in {frame.f_code.co_filename.replace(chr(92), '/').rpartition('/peftcorr/')[2]}:{frame.f_lineno}"


@contextmanager
def pretended(doubles: bool = True) -> Iterator[Pretended]:
    """Have the device in the block. Moving a module keeps its parameters the objects that they are, as on a GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            patch.object(torch, "autocast", _Autocast),
            patch.object(torch, "inference_mode", _no_gradient),
            _Tensors(),
            Pretended(doubles) as Pretended.entered,
        ):
            yield Pretended.entered
    finally:
        Pretended.entered = None
        torch.__future__.set_swap_module_params_on_conversion(before)
