"""Runs a program under a filter of system calls, by the kernel, as a container engine or systemd would.

    /usr/bin/python3 under_filter.py FILTER.json -- PROGRAM ARGUMENT...

Needs Debian's python3-seccomp, so it is run by the system's Python. The filter has Docker's form.
"""

import json
import os
import sys

import seccomp

ACTIONS = {"SCMP_ACT_ALLOW": seccomp.ALLOW}
OPERATIONS = {"SCMP_CMP_EQ": seccomp.EQ, "SCMP_CMP_NE": seccomp.NE, "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ}


def action(name, errno):
    return ACTIONS.get(name) or seccomp.ERRNO(errno)


def argument(wanted):
    operation = OPERATIONS[wanted["op"]]
    if operation == seccomp.MASKED_EQ:
        return seccomp.Arg(wanted["index"], operation, wanted["value"], wanted.get("valueTwo", 0))
    return seccomp.Arg(wanted["index"], operation, wanted["value"])


def main():
    profile = json.load(open(sys.argv[1], encoding="utf-8"))
    command = sys.argv[sys.argv.index("--") + 1 :]
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet", 1))
    program = seccomp.SyscallFilter(default)
    for group in profile["syscalls"]:
        does = action(group["action"], group.get("errnoRet", 1))
        for name in group["names"]:
            try:
                program.add_rule(does, name, *[argument(one) for one in group.get("args", [])])
            except RuntimeError:
                # A call of another machine or of a newer kernel than the library knows.
                print(f"under_filter: {name} is not known here", file=sys.stderr)
    program.load()
    os.execv(command[0], command)


main()
