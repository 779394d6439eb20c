" Written by docs/generate.py from the grammar of the language.
if exists("b:current_syntax")
  finish
endif

syntax case match
syntax iskeyword @,48-57,_,192-255
syntax keyword causalDeclaration from import domain table network metric causal align circuit fit test
syntax keyword causalStatement on output where prompt via do expect report
syntax keyword causalJoining if then else or and not in div mod
syntax keyword causalConstant true false
syntax keyword causalUnit nats bits
syntax match causalNumber /\<[0-9]\+\(\.[0-9]\+\)\?\([eE][+-]\?[0-9]\+\)\?/
syntax match causalOperator /!=\|+=\|->\|\.\.\|:=\|<-\|<=\|==\|>=\|\*\|+\|-\|\/\|<\|=\|>\|@\|\~/
syntax match causalEscape /\\./ contained
syntax match causalPlaceholder /{\s*\h\w*\s*}/ contained
syntax region causalString start=/"/ skip=/\\./ end=/"/ oneline contains=causalEscape,causalPlaceholder
syntax match causalComment /#.*$/ contains=@Spell

highlight default link causalDeclaration Structure
highlight default link causalStatement Statement
highlight default link causalJoining Operator
highlight default link causalConstant Boolean
highlight default link causalUnit Type
highlight default link causalNumber Number
highlight default link causalOperator Operator
highlight default link causalString String
highlight default link causalEscape SpecialChar
highlight default link causalPlaceholder Identifier
highlight default link causalComment Comment

let b:current_syntax = "causal"
