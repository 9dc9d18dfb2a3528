"""A GPU for machines without one: its tensors are computed on the CPU, but say that they are not.

`install()` makes `device.pick()` choose it. As on a real GPU, an operation on a CPU and a GPU
tensor fails, and so do `numpy()` of a GPU tensor and GPU noise from a CPU generator. It belongs
in a process of its own, since torch can't be rid of it again. It is slower than the CPU. For torch
it is a device of a third kind, "gpu", and `device.is_cuda` says yes to it.
"""

from types import SimpleNamespace

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from animegan_helpers import device, recipes

NAMES = {(6, 0): "Tesla P100", (7, 5): "Tesla T4", (9, 0): "H100"}
MEMORY = 16 * 2**30
aten = torch.ops.aten
COPIES = (aten.copy_, aten._to_copy)  # operations whose tensors may lie on two devices
LIBRARIES = []  # what they register is lost with them
INDEXING = (aten.index, aten.index_put, aten.index_put_)  # and those that take rows from the CPU


class GpuTensor(torch.Tensor):
    """A tensor on the pretended GPU; `content` is the CPU tensor that holds its numbers."""

    @staticmethod
    def __new__(cls, content):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            content.size(),
            strides=content.stride(),
            storage_offset=content.storage_offset(),
            dtype=content.dtype,
            device="gpu:0",
        )

    def __init__(self, content):
        self.content = content

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __tensor_flatten__(self):
        return ["content"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return GpuTensor(inner["content"])

    def __repr__(self):
        return repr(self.detach().cpu())

    def __format__(self, spec):
        return format(self.detach().cpu(), spec)

    def tolist(self):
        return self.detach().cpu().tolist()

    def __reduce_ex__(self, protocol):
        return self.detach().cpu().__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copy = GpuTensor(self.content.clone()).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copy = torch.nn.Parameter(copy.detach(), self.requires_grad)
            memo[id(self)] = copy
        return memo[id(self)]


def content_of(value):
    """What a GPU tensor holds; anything else as it is."""
    return value.content if isinstance(value, GpuTensor) else value


def on_gpu(value):
    """A CPU tensor as a GPU tensor; anything else as it is."""
    is_cpu = isinstance(value, torch.Tensor) and not isinstance(value, GpuTensor)
    return GpuTensor(value) if is_cpu else value


def refuse_two_devices(func, args, kwargs):
    """Raises RuntimeError, as torch does, for tensors on both devices; a CPU number may pass."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, GpuTensor)]
    takes_rows = func.overloadpacket in INDEXING and isinstance(args[0], GpuTensor)
    if func.overloadpacket in COPIES or takes_rows or len(on_cpu) == len(tensors):
        return
    if any(tensor.dim() > 0 for tensor in on_cpu):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, gpu:0"
            f" and cpu, in {func}"
        )


def compute(func, args, kwargs):
    """An operation of torch, computed on the CPU -> its result, on the device where it belongs."""
    refuse_two_devices(func, args, kwargs)
    has_gpu = any(isinstance(leaf, GpuTensor) for leaf in tree_leaves((args, kwargs)))
    to_gpu = has_gpu
    if kwargs.get("device") is not None:
        to_gpu = kwargs["device"].type == "gpu"
        kwargs = kwargs | {"device": torch.device("cpu")}
    if to_gpu and kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'gpu' device type for generator but found 'cpu'")
    if func.overloadpacket is aten.copy_:
        to_gpu = isinstance(args[0], GpuTensor)
    if "non_blocking" in kwargs:
        kwargs = kwargs | {"non_blocking": False}
    if "pin_memory" in kwargs:
        kwargs = kwargs | {"pin_memory": False}
    result = func(*tree_map(content_of, args), **tree_map(content_of, kwargs))
    if not to_gpu:
        return result
    result = tree_map(on_gpu, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if has_gpu else result


class Mode(TorchDispatchMode):
    """Operations that take no GPU tensor, but make one, come here."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def autocast(library, operation):
    """Register what autocast does: an operation's float32 arguments are cast before it."""

    def cast(value):
        is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return value.to(torch.get_autocast_dtype("gpu")) if is_float else value

    def kernel(*args, **kwargs):
        with torch.autocast("gpu", enabled=False):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    library.impl(operation, kernel)


def tensor(data, device=None, real_tensor=torch.tensor, **options):
    """torch.tensor, which makes a tensor on its device past any mode."""
    made = real_tensor(data, **options)
    return made if device is None else made.to(device)


def install(capability=(7, 5)):
    """From here on, in this process, `device.pick()` chooses a GPU of this compute capability.

    Recipes get at most width 32 and batches of 8, to be quick enough.
    """
    backend = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        current_device=lambda: 0,
        device_count=lambda: 1,
        manual_seed_all=lambda seed: None,
        _is_in_bad_fork=lambda: False,
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
    )
    backend_registration._setup_privateuseone_for_python_backend("gpu", backend)
    others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    others.fallback(torch.library.fallthrough_kernel)
    casts = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for operation in (aten.conv2d.default, aten.conv_transpose2d.input, aten.linear.default):
        autocast(casts, operation)
    LIBRARIES.extend([others, casts])
    torch.autograd.set_multithreading_enabled(False)  # a mode belongs to one thread
    Mode().__enter__()
    torch.tensor = tensor
    torch.cuda.get_device_capability = lambda device=None: capability
    torch.cuda.mem_get_info = lambda device=None: (MEMORY, MEMORY)
    torch.cuda.get_device_name = lambda device=None: NAMES[capability]
    device.is_cuda = lambda device: str(device).partition(":")[0] in ("cuda", "gpu")
    for name, recipe in recipes.RECIPES.items():
        small = {"width": min(recipe.width, 32), "batch": min(recipe.batch, 8)}
        recipes.RECIPES[name] = recipe.changed(**small)
    machine = device.Machine(torch.device("gpu", 0), NAMES[capability], width=32, batch=8)
    device.pick = lambda: machine
    from animegan_helpers import training  # not before `is_cuda` was replaced

    training.LEAST_SPEEDUP = 0.0  # here half precision is slower


def find_networks_on_the_cpu(found):
    """From here on, `found` gets the name of each network that is given a batch on the CPU.

    Single layers, and a network that is shown fewer than eight images, are demonstrations.
    """

    def look(network, inputs):
        x = inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else torch.zeros(0)
        is_network = any(True for _ in network.children()) and any(
            True for _ in network.parameters()
        )
        if is_network and x.device.type == "cpu" and x.dim() > 1 and len(x) >= 8:
            found.append(f"{type(network).__name__} of {tuple(x.shape)}")

    torch.nn.modules.module.register_module_forward_pre_hook(look)
