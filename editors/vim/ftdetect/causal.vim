au BufRead,BufNewFile *.causal setfiletype causal
