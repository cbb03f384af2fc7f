# SPDX-License-Identifier: MIT
"""The rooms of the house: which there are, and what each may include.

scripts/layers checks the directions; the tests of headers and documents and
scripts/census walk the same list, so that a new room is entered once, here.
"""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
# The folders that hold C.
CODE = ("src", "dpf", "libos", "programs", "cheetah")
TOPS = (*CODE, "tests")

DRIVER_CONTRACTS = ("src/kern/netdev.h", "src/kern/blkdev.h", "src/kern/irq.h",
                    "src/kern/rngdev.h")
LIBOS = ("libos/libos/", "dpf/dpf.h")
CALLS = ("libos/sys/", "src/abi/")
PROGRAM = ("libos/libos/", "libos/sys/", "src/abi/", "dpf/dpf.h")
DPF = ("dpf/dpf.h", "dpf/check.h")
# Room: what it may include beside itself. The longest prefix names the room.
RULES = {
    "src/abi/": (),
    "src/lib/": (),
    "src/kern/": ("src/abi/", "src/lib/", "src/arch.h", "dpf/dpf.h"),
    "src/x86_64/": ("src/abi/", "src/lib/", "src/arch.h"),
    "src/dev/": ("src/abi/", "src/lib/", "src/arch.h", *DRIVER_CONTRACTS),
    "src/arch.h": ("src/abi/",),
    "src/main.c": ("src/",),
    # From the bytecode up: code of single programs, then the mathematics of
    # filters, then sets of them and their code.
    "dpf/vm/": DPF,
    "dpf/x86_64/": DPF,
    "dpf/jit/": (*DPF, "dpf/vm/", "dpf/x86_64/"),
    "dpf/graph/": (*DPF, "dpf/vm/", "dpf/x86_64/", "dpf/jit/"),
    "dpf/diagram/": (*DPF, "dpf/vm/"),
    "dpf/tree/": (*DPF, "dpf/diagram/"),
    "dpf/set/": (*DPF, "dpf/vm/", "dpf/diagram/", "dpf/tree/"),
    "dpf/demux/": (*DPF, "dpf/set/", "dpf/x86_64/"),
    "dpf/engine.c": (*DPF, "dpf/vm/", "dpf/jit/", "dpf/graph/", "dpf/demux/"),
    # The host's side.
    "dpf/host.h": ("dpf/dpf.h",),
    "dpf/host/": (*DPF, "dpf/host.h"),
    "dpf/front/": (*DPF, "dpf/host.h", "dpf/vm/isa.h"),
    "dpf/text/": (*DPF, "dpf/host.h", "dpf/vm/isa.h", "dpf/diagram/"),
    "dpf/cli/": (*DPF, "dpf/host.h", "dpf/host/", "dpf/vm/isa.h"),
    "dpf/bench/": (*DPF, "dpf/host.h", "dpf/cli/cli.h", "dpf/vm/isa.h"),
    "dpf/dpf.h": (),
    "dpf/check.h": (),
    "libos/libos/": ("src/abi/", "dpf/dpf.h"),
    "libos/text/": LIBOS,
    "libos/mem/": (*LIBOS, *CALLS),
    "libos/env/": (*LIBOS, *CALLS),
    "libos/io/": (*LIBOS, *CALLS),
    "libos/start/": (*LIBOS, *CALLS, "libos/env/upcall.h"),
    # The protocols know nothing of the kernel; TCP stands on the stack.
    "libos/net/": LIBOS,
    "libos/tcp/": (*LIBOS, "libos/net/"),
    "programs/init/": PROGRAM,
    "programs/netsvc/": PROGRAM,
    "cheetah/site/": (),
    "cheetah/http/": ("cheetah/site/",),
    "cheetah/server/": ("cheetah/http/", "cheetah/site/", *PROGRAM),
    "cheetah/mksite/": ("cheetah/site/",),
    "tests/": ("",),
}

# Headers that the build makes, by the paths that include them.
MADE = {"src/abi/sysno.h", "src/abi/syserr.h", "src/kern/sysproto.h",
        "libos/sys/sys.h", "cheetah/server/status_text.h"}


def room_of(path):
    """The key of RULES that a path belongs to, or None."""
    return max((r for r in RULES if path.startswith(r)), key=len, default=None)


def sources(tops=TOPS, endings=(".c", ".h", ".S")):
    """The paths from the root of all sources below these folders."""
    for top in tops:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)
