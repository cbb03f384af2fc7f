# SPDX-License-Identifier: MIT
"""Comments of sources: what the checks of prose and of references read."""
import re

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'
                   r"'(?:\\.|[^'\\\n])*'", re.S)
EDGE = re.compile(r"^[ \t]*(?:/\*+|\*+/|\*|//)[ \t]?|[ \t]*\*/$", re.M)


def split(text):
    """C or assembly with comments and strings blanked, and the comments, each
    as (offset, text)."""
    comments = []

    def blank(m):
        if m[0][0] == "/":
            comments.append((m.start(), m[0]))
        return re.sub(r"[^\n]", " ", m[0])

    return TOKEN.sub(blank, text), comments


def words(comment):
    """A comment without its stars, line by line."""
    return EDGE.sub("", comment)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1

