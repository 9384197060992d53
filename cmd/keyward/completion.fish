# Completion of keyward for fish, as ~/.config/fish/completions/keyward.fish
function __keyward_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($words[1] complete $words[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_path "$current"
    else
        printf '%s\n' $found
    end
end
complete -c keyward -f -a '(__keyward_complete)'
