# Completion of `python -m featurize`, `cache` and `train` in bash: source this file. All else that begins with python
# is left to file names.

_melcache() {
    local IFS=$'\n'
    COMPREPLY=()
    if [[ $COMP_CWORD -gt 2 && ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} =~ ^(featurize|cache|train)$ ]]; then
        local words="${COMP_WORDS[*]:2}"
        COMPREPLY=($(COMP_WORDS="$words" COMP_CWORD=$((COMP_CWORD - 2)) _MELCACHE_COMPLETE=complete_bash \
            "$1" -m "${COMP_WORDS[2]}" 2>/dev/null))
    elif [[ $COMP_CWORD -eq 2 && ${COMP_WORDS[1]} == -m ]]; then
        COMPREPLY=($(compgen -W $'featurize\ncache\ntrain' -- "${COMP_WORDS[2]}"))
    fi
}
complete -o default -F _melcache python python3 .venv/bin/python
