"""The printed text parses to the same tree, whatever the tree, and keeps every comment."""

from __future__ import annotations

from hypothesis import strategies as st

from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr, format_tree
from causal_dsl.syntax.parse import parse
from tests.strategies import commented, expressions, trees
from tests.thinning import law


def read(text: str) -> tree.Tree:
    diagnostics = Diagnostics()
    parsed = parse(Source("test.causal", text), diagnostics)
    diagnostics.raise_errors()
    return parsed


@law(trees(), few=30, many=150)
def test_parsing_what_is_printed_gives_the_same_tree(made: tree.Tree) -> None:
    text = format_tree(made)
    assert read(text) == made
    assert format_tree(read(text)) == text


@law(expressions(4), few=50, many=150)
def test_expressions_are_printed_with_the_parentheses_they_need(made: tree.Expr) -> None:
    text = f"metric m = {format_expr(made)}"
    (declaration,) = read(text).declarations
    assert isinstance(declaration, tree.MetricDecl)
    assert declaration.value == made


@law(st.data(), few=30, many=150)
def test_comments_are_kept_wherever_they_stand(data: st.DataObject) -> None:
    text = data.draw(commented(format_tree(data.draw(trees(2)))))
    parsed = read(text)
    printed = format_tree(parsed)
    again = read(printed)
    assert again == parsed
    assert [comment.text for comment in again.comments] == [comment.text for comment in parsed.comments]
    assert format_tree(again) == printed
