#compdef keyward
# Completion of keyward for zsh: source <(keyward completion zsh)
_keyward() {
    local line
    local -a found
    for line in "${(@f)$("${words[1]}" complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
            return
        fi
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe keyward found
}
compdef _keyward keyward
