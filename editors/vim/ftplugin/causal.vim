setlocal commentstring=#\ %s comments=:# shiftwidth=2 expandtab iskeyword=@,48-57,_,192-255
