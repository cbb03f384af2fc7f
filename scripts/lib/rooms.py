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
    "libos/sys/": (), # stubs that the build makes
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

# Room: where it runs, and what it is for; scripts/house draws them so.
ABOUT = {
    "src/abi/": ("kernel and ring 3", "calls, structs, errors"),
    "src/lib/": ("kernel", "strings, log, hashes"),
    "src/kern/": ("kernel", "protects each resource"),
    "src/x86_64/": ("kernel", "the processor's part"),
    "src/dev/": ("kernel", "drivers"),
    "src/arch.h": ("kernel", "contract with the processor's part"),
    "src/main.c": ("kernel", "puts the kernel together"),
    "dpf/vm/": ("kernel and host", "verify, interpret"),
    "dpf/x86_64/": ("kernel and host", "encode instructions"),
    "dpf/jit/": ("kernel and host", "compile one program"),
    "dpf/graph/": ("host", "compile it by its meaning"),
    "dpf/diagram/": ("kernel and host", "what a program accepts"),
    "dpf/tree/": ("kernel and host", "filters of many shapes"),
    "dpf/set/": ("kernel and host", "judge and merge filters"),
    "dpf/demux/": ("kernel and host", "compile a merged lookup"),
    "dpf/engine.c": ("kernel and host", "joins the compilers"),
    "dpf/host.h": ("host", "front ends, texts"),
    "dpf/host/": ("host", "memory, symbols"),
    "dpf/front/": ("host", "languages of filters"),
    "dpf/text/": ("host", "dump, explain, draw"),
    "dpf/cli/": ("host", "the dpf tool"),
    "dpf/bench/": ("host", "beside the peers"),
    "dpf/dpf.h": ("kernel and host", "the library's interface"),
    "dpf/check.h": ("kernel and host", "assertions"),
    "libos/sys/": ("ring 3", "stubs of system calls"),
    "libos/libos/": ("ring 3", "the library's interface"),
    "libos/text/": ("ring 3", "format, options"),
    "libos/mem/": ("ring 3", "heap, runs of frames"),
    "libos/env/": ("ring 3", "upcalls, slices, events"),
    "libos/io/": ("ring 3", "rings, network card, disk"),
    "libos/start/": ("ring 3", "before main"),
    "libos/net/": ("ring 3", "ARP, IP, ICMP, UDP, DHCP"),
    "libos/tcp/": ("ring 3", "TCP"),
    "programs/init/": ("ring 3", "divides the machine"),
    "programs/netsvc/": ("ring 3", "echo, discard, zero"),
    "cheetah/site/": ("ring 3 and host", "layout of a site"),
    "cheetah/http/": ("ring 3", "requests and answers"),
    "cheetah/server/": ("ring 3", "serves from disk blocks"),
    "cheetah/mksite/": ("host", "makes a site's disk"),
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
