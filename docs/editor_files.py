"""The files by which editors colour specs, from the grammar of the language: TextMate, Vim and Emacs.

``docs/generate.py`` writes them; ``causal_dsl/tools/word_classes.py`` says what each token is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from causal_dsl.tools.word_classes import pattern_of, signs_of, words_of

#: The scope of each class in TextMate grammars.
SCOPES = {
    "declaration": "keyword.declaration",
    "statement": "keyword.control",
    "joining": "keyword.operator.word",
    "constant": "constant.language",
    "unit": "keyword.other.unit",
    "bracket": "punctuation.section",
    "separator": "punctuation.separator",
    "operator": "keyword.operator",
    "number": "constant.numeric",
    "name": "variable.other",
    "string": "string.quoted.double",
    "comment": "comment.line.number-sign",
}
WORDS = ("declaration", "statement", "joining", "constant", "unit")
SIGNS = ("operator", "separator", "bracket", "unit")


def _either(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in words)


def _signs(kind: str) -> str:
    """The signs of a class; a comparison is one terminal with a pattern of its own."""
    signs = _either(signs_of(kind))
    return f"{pattern_of('COMPARE')}|{signs}" if kind == "operator" else signs


# ── TextMate ────────────────────────────────────────────────────────────────────────────────────


def textmate(_: str = "") -> str:
    """The TextMate grammar, which VS Code, Sublime Text, JetBrains and GitHub read."""
    name = pattern_of("NAME")

    def scope(kind: str, more: str = "") -> str:
        return f"{SCOPES[kind]}{more}.causal"

    declares = _either(word for word in words_of("declaration") if word not in ("from", "import"))
    patterns: list[dict[str, object]] = [
        {"name": scope("comment"), "match": "#.*$"},
        {
            "name": scope("string"),
            "begin": '"',
            "end": '"|$',
            "patterns": [
                {"name": "constant.character.escape.causal", "match": r"\\."},
                {"name": "constant.character.escape.causal", "match": r"\{\{|\}\}"},
                {
                    "match": rf"(\{{)\s*({name})\s*(\}})",
                    "captures": {
                        "1": {"name": "punctuation.section.embedded.causal"},
                        "2": {"name": "variable.parameter.placeholder.causal"},
                        "3": {"name": "punctuation.section.embedded.causal"},
                    },
                },
            ],
        },
        {
            "match": rf"(?<!\w)({declares})(?!\w)\s+(?!(?:{_either(w for k in WORDS for w in words_of(k))})(?!\w))({name})",
            "captures": {"1": {"name": scope("declaration")}, "2": {"name": "entity.name.type.causal"}},
        },
        *(
            {"name": scope(kind), "match": rf"(?<!\w)(?:{_either(words_of(kind))})(?!\w)"}
            for kind in WORDS
            if words_of(kind)
        ),
        {"match": rf"({name})(?=\()", "name": "entity.name.function.causal"},
        {"name": scope("name"), "match": name},
        {"name": scope("number"), "match": pattern_of("NUMBER")},
        *({"name": scope(kind), "match": _signs(kind)} for kind in SIGNS if signs_of(kind)),
    ]
    document = {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "causal",
        "scopeName": "source.causal",
        "fileTypes": ["causal"],
        "patterns": patterns,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# ── Vim ─────────────────────────────────────────────────────────────────────────────────────────

_GROUPS = {
    "declaration": "Structure",
    "statement": "Statement",
    "joining": "Operator",
    "constant": "Boolean",
    "unit": "Type",
}


def vim(_: str = "") -> str:
    """The syntax file of Vim and Neovim."""
    lines = [
        '" Written by docs/generate.py from the grammar of the language.',
        'if exists("b:current_syntax")',
        "  finish",
        "endif",
        "",
        "syntax case match",
        "syntax iskeyword @,48-57,_,192-255",
        *(f"syntax keyword causal{kind.title()} {' '.join(words_of(kind))}" for kind in WORDS),
        r"syntax match causalNumber /\<[0-9]\+\(\.[0-9]\+\)\?\([eE][+-]\?[0-9]\+\)\?/",
        r"syntax match causalOperator /" + r"\|".join(_vim_sign(sign) for sign in _vim_signs()) + "/",
        r"syntax match causalEscape /\\./ contained",
        r"syntax match causalPlaceholder /{\s*\h\w*\s*}/ contained",
        'syntax region causalString start=/"/ skip=/\\\\./ end=/"/ oneline contains=causalEscape,causalPlaceholder',
        "syntax match causalComment /#.*$/ contains=@Spell",
        "",
        *(f"highlight default link causal{kind.title()} {group}" for kind, group in _GROUPS.items()),
        "highlight default link causalNumber Number",
        "highlight default link causalOperator Operator",
        "highlight default link causalString String",
        "highlight default link causalEscape SpecialChar",
        "highlight default link causalPlaceholder Identifier",
        "highlight default link causalComment Comment",
        "",
        'let b:current_syntax = "causal"',
    ]
    return "\n".join(lines) + "\n"


def _vim_signs() -> list[str]:
    comparing = ("==", "!=", "<=", ">=", "<", ">")
    return sorted({*signs_of("operator"), *comparing}, key=lambda sign: (-len(sign), sign))


def _vim_sign(sign: str) -> str:
    return "".join("\\" + letter if letter in "/*.~[]^$\\" else letter for letter in sign)


# ── Emacs ───────────────────────────────────────────────────────────────────────────────────────

_FACES = {
    "declaration": "font-lock-keyword-face",
    "statement": "font-lock-keyword-face",
    "joining": "font-lock-builtin-face",
    "constant": "font-lock-constant-face",
    "unit": "font-lock-type-face",
}


def emacs(_: str = "") -> str:
    """The mode of Emacs."""

    def listed(kind: str) -> str:
        return " ".join(f'"{word}"' for word in words_of(kind))

    declares = " ".join(f'"{word}"' for word in words_of("declaration") if word not in ("from", "import"))
    rules = [
        f"   `(,(rx symbol-start (group (or {declares})) symbol-end (+ space) (group (+ (or (syntax word) (syntax symbol)))))\n"
        "     (1 font-lock-keyword-face) (2 font-lock-function-name-face))",
        *(f"   `(,(rx symbol-start (or {listed(kind)}) symbol-end) . {face})" for kind, face in _FACES.items()),
        '   `(,(rx "{" (* space) (group (any "a-zA-Z_") (* (any "a-zA-Z0-9_"))) (* space) "}") 1 font-lock-variable-name-face t)',
    ]
    return (
        """;;; causal-mode.el --- Specs of causal_dsl  -*- lexical-binding: t; -*-

;; Written by docs/generate.py from the grammar of the language.

;;; Commentary:

;; Colours, comments and indentation of .causal files.  With Eglot:
;;   (add-to-list 'eglot-server-programs '(causal-mode . ("causal-dsl" "lsp")))

;;; Code:

(defvar causal-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?# "<" table)
    (modify-syntax-entry ?\\n ">" table)
    (modify-syntax-entry ?\\" "\\"" table)
    (modify-syntax-entry ?_ "_" table)
    table)
  "How characters of a spec belong together.")

(defvar causal-mode-font-lock-keywords
  (list
"""
        + "\n".join(rules)
        + """)
  "The colours of a spec.")

(defun causal-mode-indent-line ()
  "Indent by two for each bracket that is open where the line begins."
  (interactive)
  (let* ((depth (save-excursion
                  (beginning-of-line)
                  (skip-chars-forward " \\t")
                  (- (car (syntax-ppss)) (if (looking-at "[])}]") 1 0))))
         (wanted (* 2 (max depth 0))))
    (if (<= (current-column) (current-indentation))
        (indent-line-to wanted)
      (save-excursion (indent-line-to wanted)))))

;;;###autoload
(define-derived-mode causal-mode prog-mode "Causal"
  "A mode for the specs of causal_dsl."
  (setq-local comment-start "# ")
  (setq-local comment-start-skip "#+ *")
  (setq-local font-lock-defaults '(causal-mode-font-lock-keywords))
  (setq-local indent-line-function #'causal-mode-indent-line))

;;;###autoload
(add-to-list 'auto-mode-alist '("\\\\.causal\\\\'" . causal-mode))

(provide 'causal-mode)
;;; causal-mode.el ends here
"""
    )
