"""The meaning of each keyword of the grammar, in a sentence, and how it is written."""

from __future__ import annotations

#: By keyword: the sentence, and an example. A test holds them against the keywords of the grammar.
KEYWORDS: dict[str, tuple[str, str]] = {
    "from": ("takes names from another spec, or functions from a Python file", 'from "ioi.causal" import tau, Name'),
    "import": ("lists the names that are taken from a file", 'from "tasks.py" import plural'),
    "domain": ("names a set of values", 'domain Shape = {"arrow", "circle"}'),
    "table": ("names rows of facts, from a file or as they are written", 'table capitals = csv("capitals.csv")'),
    "network": ("declares the network that hypotheses are about", 'network net = zoo("equality-gpt2")'),
    "metric": ("names a number that is computed from a run", "metric gap = logit(right) - logit(wrong)"),
    "causal": (
        "begins a causal model: variables, how each is computed, and an output",
        "causal m { a, b ~ 0..3  output same := a == b }",
    ),
    "align": (
        "says where in a network each variable of a causal model is",
        "align at(l in 0:3) : m -> net { left @ layer[l].resid_post[last] }",
    ),
    "circuit": ("names a part of a network: nodes or edges", "circuit names : lm = { layer[9].head[6]@last }"),
    "fit": (
        "says on which pairs the features of an alignment are fitted",
        "fit on at { base, source ~ m(n=512)  do(left <- source) }",
    ),
    "test": (
        "begins a test: what is drawn, what is intervened on, and what is expected",
        "test left_is_there on at { … }",
    ),
    "on": (
        "names the alignment that a test or a fit is on; its parameters may be given values",
        "test t on at(l=1) { … }",
    ),
    "output": ("marks the variable that the network answers", "output same := left == right"),
    "where": ("a condition: only what fulfils it is drawn", "base, source ~ m(n=64) where base.a != source.a"),
    "prompt": (
        "the text that a language network reads; a name in braces is a variable, and its token a position",
        'prompt "{a} {b} ="',
    ),
    "via": (
        "says through which feature a variable is read and written, or how an input is encoded",
        "left @ layer[1].resid_post[last] via rotation(dim=4)",
    ),
    "do": (
        "an intervention: a variable or a site is set to another run's value, or to a value that is written",
        "do(left <- source)",
    ),
    "expect": ("a line that must hold for the test to pass", "expect max(iia) >= 90%"),
    "report": ("a number that the test says without judging it", "report iia, kl"),
    "if": ("chooses between two values", "if polite then 1 else 0"),
    "then": ("the value of an `if` whose condition holds", "if polite then 1 else 0"),
    "else": ("the value of an `if` whose condition does not hold", "if polite then 1 else 0"),
    "or": ("holds if one of two conditions does", "a == b or c == d"),
    "and": ("holds if both conditions do", "a == b and c == d"),
    "not": ("holds if a condition does not", "not polite"),
    "in": ("whether a value is in a set; in brackets, the values that a parameter takes", "a in {1, 2}"),
    "div": ("the whole number of times that one number goes into another, rounded down", "(a + b) div 10"),
    "mod": ("what is left of a division, with the sign of the divisor", "(a + b) mod 10"),
    "true": ("a truth value", "polite == true"),
    "false": ("a truth value", "polite == false"),
    "nats": ("a unit of information: entropies and divergences are measured in nats or bits", "expect kl <= 0.1 nats"),
    "bits": ("a unit of information: one bit is 0.693 nats", "expect kl <= 0.1 bits"),
}


def keyword_page(word: str) -> str:
    """The sentence of a keyword with its example, in Markdown; empty for what is none."""
    if word not in KEYWORDS:
        return ""
    told, example = KEYWORDS[word]
    return f"`{word}`: {told}.\n\n```causal\n{example}\n```"


__all__ = ["KEYWORDS", "keyword_page"]
