"""Runs a command under a seccomp filter: a Docker profile, or a list of system calls. For Debian's python3 with python3-seccomp.

confined.py FILTER.json COMMAND...

The filter: {"errno": N, "rules": [{"names": [...], "action": "SCMP_ACT_ALLOW", "args": [...]}, ...]}. Of those for one
architecture, kernel or capability the caller has left what applies.
"""

import json
import os
import sys

import seccomp

OPERATORS = {
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}


def argument(rule):
    operator = OPERATORS[rule["op"]]
    if operator == seccomp.MASKED_EQ:
        return seccomp.Arg(rule["index"], operator, rule["value"], rule.get("valueTwo", 0))
    return seccomp.Arg(rule["index"], operator, rule["value"])


def main():
    with open(sys.argv[1]) as file:
        wanted = json.load(file)
    table = seccomp.SyscallFilter(defaction=seccomp.ERRNO(wanted["errno"]))
    for rule in wanted["rules"]:
        allowed = rule["action"] == "SCMP_ACT_ALLOW"
        action = seccomp.ALLOW if allowed else seccomp.ERRNO(rule["errnoRet"])
        for name in rule["names"]:
            try:
                table.add_rule(action, name, *map(argument, rule.get("args") or []))
            except (ValueError, RuntimeError):
                # A call that this architecture or this version of the library doesn't know: refused, then.
                continue
    table.load()
    os.execvp(sys.argv[2], sys.argv[2:])


main()
