# SPDX-License-Identifier: MIT
"""The manual pages of system calls, made from the table and its prose.

The table says how a call is named and called, what capability it demands and
which errors it returns; src/abi/err.h says in general what an error means. What
neither says stands once, in src/man/NAME.mdoc: sections of mdoc, of which these
are treated apart. DESCRIPTION is put behind the sentence of the table. ERRORS
has an `.It Er` for each error that needs a reason of this call, which is put
behind the general text. SEE ALSO is a list of .Xr. The page sys_calls(2) lists
all calls and errors.
"""
import os
import re
import textwrap

# Errors whose general text is the whole explanation: the section CAPABILITY
# says what E_CAP demands, and the other two are about memory alone.
PLAIN = ("E_CAP", "E_FAULT", "E_MEM")
OWN = ("DESCRIPTION", "ERRORS", "SEE ALSO")  # sections of prose merged here
INDEX = "sys_calls"

MARK = '.\\" SPDX-License-Identifier: MIT'
CONSTANT = re.compile(r"^([A-Z]+_[A-Z0-9_]+)([.,;:)]*)$")


class Bad(Exception):
    """Prose that does not fit the table."""


def error_texts(path):
    """{name: sentence} of the one list of errors."""
    with open(path, encoding="utf-8") as f:
        pairs = re.findall(r'X\((E_\w+), \d+, "([^"]+)"\)', f.read())
    return {name: text[0].upper() + text[1:] + "." for name, text in pairs}


def prose(path):
    """{section: text} of a file of prose."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    parts = re.split(r"^\.Sh (.+)\n", text, flags=re.M)
    if parts[0].strip() != MARK:
        raise Bad(f"{path}: begins with the licence, and then with .Sh")
    for name in parts[1::2]:
        if parts[1::2].count(name) > 1:
            raise Bad(f"{path}: two sections {name}")
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2])}


def reasons(body, path):
    """{error: text} of the ERRORS section of prose."""
    parts = re.split(r"^\.It Er (\w+)\n", body + "\n", flags=re.M)
    if parts[0].strip():
        raise Bad(f"{path}: ERRORS is a list of .It Er")
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2])}


def inline(text):
    """Text of the table as lines of mdoc: constants and `arguments` marked."""
    lines, plain = [], []
    for word in text.split():
        argument = re.match(r"^`(\w+)`([.,;:]*)$", word)
        constant = CONSTANT.match(word)
        if not argument and not constant:
            plain.append(word)
            continue
        lines += textwrap.wrap(" ".join(plain))
        kind = "Fa" if argument else "Er" if word.startswith("E_") else "Dv"
        m = argument or constant
        lines.append(f".{kind} {m[1]} {m[2]}".rstrip())
        plain = []
    return lines + textwrap.wrap(" ".join(plain))


def sentence(text):
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def capability(c):
    """One item for each argument that names a capability."""
    if re.match(r"none\b", c.cap):
        return inline(sentence(c.cap))
    items = []
    for part in c.cap.split("; "):
        m = re.match(r"([\w.]+): (.*)", part)
        if m:
            items.append([m[1], m[2]])
        elif items:
            items[-1][1] += "; " + part
        else:
            raise Bad(f"{c.name}: cap names no argument")
    out = [f".Bl -tag -width {max((i[0] for i in items), key=len)}"]
    for name, text in items:
        out += [f".It Fa {name}", *inline(sentence(text))]
    return out + [".El"]


def time_of(c):
    """When authority is checked, and what the call costs others."""
    if c.access:
        out = [".Sh ACCESS TIME", "The call uses what was bound before.",
               "It takes no lock of the calls that make or break bindings."]
    else:
        out = [".Sh BIND TIME", "The call holds the lock of all bindings, so "
               "that one such call runs at a time."]
    if c.turns:
        out += ["Its work is done in turns.",
                "An interrupt may come between two of them; the processor then "
                "executes the", "instruction again without the caller's doing."]
    return out


def errors(names, texts, why=None):
    out = [".Bl -tag -width E_CONFLICT"]
    for e in names:
        out += [f".It Er {e}", texts[e]]
        out += why[e].split("\n") if why and e in why else []
    return out + [".El"]


def head(name, says):
    return [MARK, '.\\" Made by scripts/sysgen from src/abi/syscall.tab and '
            "src/man.", ".Dd $Mdocdate$", f".Dt {name.upper()} 2",
            ".Os Pavise", ".Sh NAME", f".Nm {name}",
            f".Nd {says[0].lower()}{says[1:]}"]


def see_also(body):
    names = re.findall(r"^\.Xr (\S+) (\d)", body, re.M) + [(INDEX, "2")]
    names.sort(key=lambda n: (n[1], n[0]))
    return [".Sh SEE ALSO"] + [f".Xr {n} {s} ," for n, s in names[:-1]] + \
        [f".Xr {names[-1][0]} {names[-1][1]}"]


def page(c, user_type, texts, path):
    """The page of one call; Bad if the prose does not fit the table."""
    text = prose(path)
    why = reasons(text.get("ERRORS", ""), path)
    for e in why:
        if e not in c.errors:
            raise Bad(f"{path}: {c.name} does not return {e}")
    for e in c.errors:
        if e not in texts:
            raise Bad(f"{e} of {c.name} is not in src/abi/err.h")
        if e not in why and e not in PLAIN:
            raise Bad(f"{path}: no reason for {e}")
    if not text.get("DESCRIPTION"):
        raise Bad(f"{path}: no DESCRIPTION")
    does, _, value = c.does.rstrip(".").partition("; returns ")
    out = head(f"sys_{c.name}", does.replace("`", ""))
    out += [".Sh SYNOPSIS", ".In libos/sys/sys.h", ".Ft int64_t",
            f".Fo sys_{c.name}"]
    out += [f'.Fa "{user_type(d, k)}{n}"' for d, k, n in c.args] + [".Fc"]
    out += [".Sh CAPABILITY", *capability(c)]
    out += [".Sh DESCRIPTION", *inline(does + "."), text["DESCRIPTION"]]
    out += [".Sh RETURN VALUES",
            *inline(sentence(f"{value or 'zero'}, or a negated error"))]
    out += [".Sh ERRORS", *errors(c.errors, texts, why)]
    out += time_of(c)
    for name, body in text.items():
        if name not in OWN:
            out += [f".Sh {name}", body]
    return "\n".join(out + see_also(text.get("SEE ALSO", ""))) + "\n"


def index(calls, texts, path):
    """The page that lists all calls."""
    out = head(INDEX, "the system calls of Pavise")
    out += [".Sh DESCRIPTION", prose(path)["DESCRIPTION"], ".Sh CALLS",
            ".Bl -tag -width Ds"]
    for c in calls:
        out += [f".It Xr sys_{c.name} 2",
                *inline(c.does.rstrip(".").partition("; returns ")[0] + ".")]
    out += [".El", ".Sh ERRORS", *errors(texts, texts)]
    return "\n".join(out) + "\n"


def write(calls, user_type, table, folder):
    """All pages into `folder`; a list of complaints."""
    abi = os.path.dirname(table)
    beside = os.path.join(os.path.dirname(abi), "man")
    texts = error_texts(os.path.join(abi, "err.h"))
    complaints = []
    wanted = [*calls, None]
    for c in wanted:
        name = f"sys_{c.name}" if c else INDEX
        path = os.path.join(beside, f"{c.name if c else INDEX}.mdoc")
        try:
            text = page(c, user_type, texts, path) if c else \
                index(calls, texts, path)
        except Bad as e:
            complaints.append(str(e))
            continue
        except FileNotFoundError:
            complaints.append(f"{path}: missing")
            continue
        if folder is not None:
            with open(os.path.join(folder, f"{name}.2"), "w",
                      encoding="utf-8") as f:
                f.write(text)
    known = {f"{c.name}.mdoc" for c in calls} | {f"{INDEX}.mdoc"}
    complaints += [f"{os.path.join(beside, name)}: no system call has this name"
                   for name in sorted(set(os.listdir(beside)) - known)
                   if name.endswith(".mdoc")]
    return complaints
