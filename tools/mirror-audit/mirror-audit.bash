# bash completion for mirror-audit: options from its --help, and files
complete -F _longopt mirror-audit
