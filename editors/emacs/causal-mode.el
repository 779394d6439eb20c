;;; causal-mode.el --- Specs of causal_dsl  -*- lexical-binding: t; -*-

;; Written by docs/generate.py from the grammar of the language.

;;; Commentary:

;; Colours, comments and indentation of .causal files.  With Eglot:
;;   (add-to-list 'eglot-server-programs '(causal-mode . ("causal-dsl" "lsp")))

;;; Code:

(defvar causal-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?# "<" table)
    (modify-syntax-entry ?\n ">" table)
    (modify-syntax-entry ?\" "\"" table)
    (modify-syntax-entry ?_ "_" table)
    table)
  "How characters of a spec belong together.")

(defvar causal-mode-font-lock-keywords
  (list
   `(,(rx symbol-start (group (or "domain" "table" "network" "metric" "causal" "align" "circuit" "fit" "test")) symbol-end (+ space) (group (+ (or (syntax word) (syntax symbol)))))
     (1 font-lock-keyword-face) (2 font-lock-function-name-face))
   `(,(rx symbol-start (or "from" "import" "domain" "table" "network" "metric" "causal" "align" "circuit" "fit" "test") symbol-end) . font-lock-keyword-face)
   `(,(rx symbol-start (or "on" "output" "where" "prompt" "via" "do" "expect" "report") symbol-end) . font-lock-keyword-face)
   `(,(rx symbol-start (or "if" "then" "else" "or" "and" "not" "in" "div" "mod") symbol-end) . font-lock-builtin-face)
   `(,(rx symbol-start (or "true" "false") symbol-end) . font-lock-constant-face)
   `(,(rx symbol-start (or "nats" "bits") symbol-end) . font-lock-type-face)
   `(,(rx "{" (* space) (group (any "a-zA-Z_") (* (any "a-zA-Z0-9_"))) (* space) "}") 1 font-lock-variable-name-face t))
  "The colours of a spec.")

(defun causal-mode-indent-line ()
  "Indent by two for each bracket that is open where the line begins."
  (interactive)
  (let* ((depth (save-excursion
                  (beginning-of-line)
                  (skip-chars-forward " \t")
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
(add-to-list 'auto-mode-alist '("\\.causal\\'" . causal-mode))

(provide 'causal-mode)
;;; causal-mode.el ends here
