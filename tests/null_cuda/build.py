"""Build null CUDA for the installed torch: `python build.py FOLDER` makes libnull.so and libcuda.so.1 there.

The CUDA runtime (runtime.c) and what cuBLAS and cuDNN must answer (libraries.c) are written by hand. Everything
else that torch's libraries want of them is one line, made here from their undefined symbols.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = (HERE / "runtime.c", HERE / "libraries.c")
RUNTIME = re.compile(r"(cublas|cudnn|cusolver|cuda)\w+")
DRIVER = re.compile(r"cu[A-Z]\w+")
MAKES = re.compile(r"(cublas(Lt)?|cudnn|cudnnBackend|cusolverDn)Create\w*|cuCtxGetCurrent")
"""Functions that give a handle by their first argument, descriptors of a backend by their second."""
BLAS = re.compile(r"cublas\w*(gemm|gemv|dot|Gemm|Dot)\w*|cublasLtMatmul")
PROLOGUE = ("#include <stdlib.h>", "extern unsigned long null_blas, null_dnn;")
DNN = re.compile(r"cudnn(Convolution|BatchNormalization|Pooling)\w*")


def torch_folder() -> Path:
    """Where the installed torch lies; it is not imported."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def why_not() -> str:
    """Why null CUDA cannot be built here; empty where it can."""
    if missing := [tool for tool in ("cc", "nm") if not shutil.which(tool)]:
        return f"no {' and '.join(missing)} here: null CUDA needs a C compiler"
    if not (torch_folder() / "lib" / "libtorch_cuda.so").exists():
        return "torch is built without CUDA"
    return "" if _headers() else "the CUDA runtime's headers are not installed beside torch"


def environment(folder: Path) -> dict[str, str]:
    """What a process needs to run on the null CUDA of a folder."""
    return {"LD_PRELOAD": str(folder / "libnull.so"), "LD_LIBRARY_PATH": str(folder), "NULL_CUDA": str(folder)}


def build(folder: Path) -> None:
    """Compile both libraries into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = _undefined(torch_folder() / "lib")
    for file, names in (("stubs.c", RUNTIME), ("driver.c", DRIVER)):
        stubs = [_stub(name) for name in sorted(wanted) if names.fullmatch(name)]
        (folder / file).write_text("\n".join([*PROLOGUE, *stubs, ""]))
    includes = [f"-I{HERE}", f"-I{_headers()}"]
    _compile([*SOURCES, folder / "stubs.c"], folder / "libnull.so", *includes)
    _compile([folder / "driver.c"], folder / "libcuda.so.1", "-Wl,-soname,libcuda.so.1")


def _stub(name: str) -> str:
    """A function that does nothing, unless one of that name is written by hand."""
    weak = f"__attribute__((weak)) int {name}"
    if MAKES.fullmatch(name):
        into = "b" if "Backend" in name else "a"
        return f"{weak}(void **a, void **b) {{ *{into} = calloc(1, 256); return 0; }}"
    counter = "null_blas++; " if BLAS.fullmatch(name) else "null_dnn++; " if DNN.fullmatch(name) else ""
    return f"{weak}(void) {{ {counter}return 0; }}"


def _undefined(libraries: Path) -> set[str]:
    """The symbols that torch's libraries want of others."""
    found = [str(path) for path in libraries.glob("lib*.so*") if re.match(r"lib(torch|c10|caffe2)", path.name)]
    shown = subprocess.run(["nm", "-D", "--undefined-only", *found], capture_output=True, text=True, check=True).stdout
    return {match[1] for match in re.finditer(r" U (\w+)", shown)}


def _headers() -> Path | None:
    """The folder of the CUDA runtime's headers, from NVIDIA's wheels."""
    return next((path.parent for path in torch_folder().parent.glob("nvidia/*/include/cuda_runtime_api.h")), None)


def _compile(sources: list[Path], to: Path, *options: str) -> None:
    command = ["cc", "-w", "-O1", "-fPIC", "-shared", *options, *map(str, sources), "-o", str(to)]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    build(Path(sys.argv[1]))
