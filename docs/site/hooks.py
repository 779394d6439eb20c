"""What the site has beside the pages of docs/: the README as its home, the notebook, the reference of Python, and the specs that pages link to.

The pages are read on a forge and in an installed package as well, so their links lead to files as they lie there. Here links to
files outside of docs/ are led to where the site has them.
"""

from __future__ import annotations

import html
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # the checkout that it stands in, and no installed package

#: Pages that are made of files outside of docs/: where such a file is, from the root, and what the site calls it.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "licence.md",
    "benchmarks/README.md": "benchmarks.md",
    "editors/README.md": "editor-files.md",
    "docs/notebook.ipynb": "notebook.md",
}
PAGES = {source: name for source, name in PAGES.items() if (ROOT / source).is_file()}
#: Pages whose tables have a row for a word of the language, and these words with what is said of them, by the addresses of the pages.
WITH_WORDS = ("measures.md", "features.md")
WORDS_OF: dict[str, list[tuple[str, str]]] = {}
#: Folders outside of docs/ whose files are copied where a page links to them.
COPIED = ("specs/", "grammar/", "benchmarks/", "editors/")


def _sound(record: logging.LogRecord) -> bool:
    """Whether a message is about the pages. One is not: names that a module computes are in no ``__all__`` that can be read."""
    return "Unsupported item in causal_dsl.build.__all__" not in record.getMessage()


for _name in ("mkdocs.plugins.griffe", "mkdocs.plugins._griffe", "griffe", "_griffe"):
    logging.getLogger(_name).addFilter(_sound)


def on_config(config: Any) -> Any:
    """Name the pages that mkdocs.yml does not name in the contents, too; and let code blocks have the colours of the language,
    whichever version of the package is installed."""
    from pygments.lexers import LEXERS

    LEXERS["CausalLexer"] = ("causal_dsl.tools.pygments_lexer", "causal", ("causal",), ("*.causal",), ())
    named = json.dumps(config.nav)
    more = sorted(page.name for page in DOCS.glob("*.md") if f'"{page.name}"' not in named)
    if more:
        config.nav = [*config.nav, {"More": more}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """The pages that are made, and the raw text of every page: agents read Markdown (llms.txt links to it)."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=MAKERS.get(source, _as_it_is)(ROOT / source)))
    files.append(File.generated(config, "reference.md", content=_reference()))
    files.append(File.generated(config, "stylesheets/extra.css", abs_src_path=str(DOCS / "site" / "extra.css")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to files outside of docs/ lead to where the site has them."""
    source = next((source for source, name in PAGES.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    folder = source.rpartition("/")[0]
    here = page.file.src_uri.rpartition("/")[0]

    def led(match: re.Match[str]) -> str:
        target, anchor = match[2], match[3] or ""
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        path = normpath(f"{folder}/{target}" if folder else target)
        if path in PAGES:
            found = PAGES[path]
        elif path.startswith("docs/"):
            found = path.removeprefix("docs/")
        elif path.startswith(COPIED) and (ROOT / path).is_file():
            found = path
            if files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        else:
            return match[0]
        return f"{match[1]}({relpath(found, here or '.')}{anchor})"

    return re.sub(r"(\]\s*)\(([^)\s#]+)(#[^)\s]*)?\)", led, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Roles of Sphinx in docstrings are names. A word of the language that has a row of a table has an anchor there."""
    content = re.sub(r":(?:class|func|mod|meth|attr|data|exc):<code>~?([\w.]+)</code>", r"<code>\1</code>", content)
    if page.file.src_uri not in WITH_WORDS:
        return content
    taken = set(re.findall(r'\bid="([^"]+)"', content))
    found = WORDS_OF[page.url] = []

    def anchored(row: re.Match[str]) -> str:
        word = re.match(r"[a-z]\w*", _plain(row[1]))
        if word is None or word[0] in taken:
            return row[0]
        taken.add(word[0])
        found.append((word[0], _plain(row[2])))
        return row[0].replace("<td", f'<td id="{word[0]}"', 1)

    return re.sub(r"<tr>\s*<td[^>]*>(<code>.*?)</td>(.*?)</tr>", anchored, content, flags=re.DOTALL)


def _plain(content: str) -> str:
    """What is read of a piece of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", content)).split())


def _words_are_found(config: Any) -> None:
    """The search finds a word by its name at its row, ahead of pages that use it."""
    index = config.plugins["material/search"].search_index
    for url, words in WORDS_OF.items():
        index.entries += [
            {"location": f"{url}#{word}", "title": word, "text": html.escape(told), "boost": 4} for word, told in words
        ]


@event_priority(100)  # before the search writes its index
def on_post_build(config: Any) -> None:
    """The words of the language in the index of the search, and the Markdown of the pages beside their HTML, for whom llms.txt is."""
    _words_are_found(config)
    for page in (*DOCS.glob("*.md"), *DOCS.glob("diagnostics.d/*.md")):
        target = Path(config.site_dir) / page.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(page.read_bytes())


# ── pages that are made ─────────────────────────────────────────────────────────────────────────


def _as_it_is(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _licence(path: Path) -> str:
    return f"# Licence\n\n```text\n{path.read_text(encoding='utf-8').strip()}\n```\n"


def _notebook(path: Path) -> str:
    """A notebook as Markdown: its texts, its code, and what that showed."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        first, _, rest = source.partition("\n")
        if first.startswith("%%causal"):
            parts.append(f"```text\n{first}\n```\n\n```causal\n{rest}\n```")
        else:
            parts.append(f"```python\n{source}\n```")
        parts += [_output(one) for one in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        shown = "".join(data["text/html"])
        lines = "\n".join(line for line in shown.split("\n") if line.strip())  # an empty line would end the block
        return f'<div class="notebook-output" tabindex="0">\n{lines}\n</div>'
    if output["output_type"] == "error":
        text = "\n".join(output["traceback"])
    else:
        text = "".join(output.get("text", data.get("text/plain", "")))
    return f'<div class="notebook-output" tabindex="0"><pre>{html.escape(text.rstrip())}</pre></div>'.replace(
        "\n", "&#10;"
    )


MAKERS: dict[str, Callable[[Path], str]] = {"LICENSE": _licence, "docs/notebook.ipynb": _notebook}

#: The names of the package by what they are for; all others build specs.
GROUPS = {
    "Specs": ("load", "parse", "spec", "Spec", "Options"),
    "Check, plan and run": ("check", "Checked", "plan", "run", "run_files", "networks", "execute"),
    "Results": ("Results",),
    "Faults": ("SpecError", "Diagnostic"),
}
#: Classes that these give, by where they are.
BESIDE = {
    "Check, plan and run": (
        "causal_dsl.planning.plan.Plan",
        "causal_dsl.engine.execute.Execution",
        "causal_dsl.api.train",
    ),
    "Results": (
        *(
            "causal_dsl.score.spec_results.SpecResult",
            "causal_dsl.score.results.TestResult",
            "causal_dsl.score.results.CellResult",
        ),
        *(
            "causal_dsl.score.estimates_and_findings.Estimate",
            "causal_dsl.score.estimates_and_findings.Finding",
            "causal_dsl.score.estimates_and_findings.Verdict",
        ),
        *("causal_dsl.score.results.ExpectationResult", "causal_dsl.score.across_networks.FamilyResult"),
    ),
}


def _reference() -> str:
    """The page of Python's names, from their docstrings."""
    import causal_dsl

    parts = [
        "# Python",
        "`import causal_dsl as cd` has everything that the command line does, and a builder that makes the same specs as the "
        "language. Names are imported when they are first used.",
    ]
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        parts += [f"::: {_place(causal_dsl, name)}" for name in names]
        parts += [f"::: {path}" for path in BESIDE.get(title, ())]
    told = {name for names in GROUPS.values() for name in names}
    parts += [
        "## The builder",
        "[The same in Python](language.md#the-same-in-python) shows how these make a spec. Words of features, values and "
        "measures (`cd.rotation`, `cd.clamp`, `cd.iia`) are written as in the language.",
    ]
    made = [name for name in causal_dsl.__all__ if name not in told and callable(getattr(causal_dsl, name))]
    documented = [name for name in made if _place(causal_dsl, name).startswith("causal_dsl.")]
    parts += [f"::: {_place(causal_dsl, name)}" for name in documented]
    return "\n\n".join(parts) + "\n"


def _place(package: Any, name: str) -> str:
    """Where an object of the package is defined, as a dotted path; its bare name where it is none."""
    found = getattr(package, name)
    module, own = getattr(found, "__module__", ""), getattr(found, "__qualname__", "")
    return f"{module}.{own}" if module and own and "<" not in own else name
