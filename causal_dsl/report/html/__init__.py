"""Results as a page: one file that asks nothing of anywhere, readable without JavaScript, light and dark, on paper.

:func:`fragment` is the part of one test, and :func:`page` puts sections into the whole file; both escape all text.
"""

from causal_dsl.report.html.fragments import fragment
from causal_dsl.report.html.pages import Section, page, style

__all__ = ["Section", "fragment", "page", "style"]
