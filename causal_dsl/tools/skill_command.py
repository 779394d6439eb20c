"""``causal-dsl skill``: the page that teaches the language to a coding agent."""

from __future__ import annotations

import argparse
import re

from causal_dsl.base.resources import resource
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say


def skill(arguments: argparse.Namespace, line: CommandLine) -> int:
    """Print the page as Markdown, without the marks between which its lists are written."""
    text = resource("docs", "skill.md").read_text(encoding="utf-8")
    say(re.sub(r"<!-- .*? -->\n\n?", "", text), end="")
    return 0
