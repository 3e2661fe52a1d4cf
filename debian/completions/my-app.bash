# Completions of my-app, made from its command line: UPDATE_COMPLETIONS=1 cargo test --lib completions
_my_app() {
    local word=$2 before=$3 command='' options='' words=''
    COMPREPLY=()
    # bash takes --config=FILE for three words.
    if [[ $word == = ]]; then
        word=''
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
    case $command in
    check)
        options='--config --json --help'
        ;;
    status)
        options='--json --watch --config --socket --help'
        ;;
    why)
        options='--json --config --socket --help'
        ;;
    emit)
        options='--namespace --room --config --socket --help'
        ;;
    log)
        options='--for --config --socket --help'
        words='reopen off error warn info debug trace'
        ;;
    drain)
        options='--over --undo --config --socket --help'
        ;;
    reload)
        options='--config --socket --help'
        ;;
    *)
        options='--config --listen --workers --cors --bridge --resume --help --version'
        ((COMP_CWORD == 1)) && words='check status why emit log drain reload'
        ;;
    esac
    case $before in
    --config | --socket)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --listen | --workers | --cors | --bridge | --namespace | --room | --for | --over)
        return
        ;;
    esac
    if [[ $word == -* || -z $words ]]; then
        words=$options
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _my_app my-app
