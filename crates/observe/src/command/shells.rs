//! Completion scripts. They ask the program itself (`__complete`), so they never grow old.

/// Shells that a script exists for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Powershell,
    Zsh,
}

/// A script for `program`; with descriptions where the shell shows them.
pub(crate) fn script(shell: Shell, program: &str, descriptions: bool) -> String {
    let ask = if descriptions { "__complete" } else { "__completeNoDesc" };
    let template = match shell {
        Shell::Bash => BASH,
        Shell::Fish => FISH,
        Shell::Powershell => POWERSHELL,
        Shell::Zsh => ZSH,
    };
    template.replace("PROGRAM", program).replace("ASK", ask)
}

const BASH: &str = r#"# bash completion for PROGRAM
_PROGRAM_complete() {
    local answer line word
    answer=$("${COMP_WORDS[0]}" __completeNoDesc "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :*) [ "${line#:}" = 0 ] && [ ${#COMPREPLY[@]} = 0 ] && compopt -o default ;;
        *) COMPREPLY+=("$line") ;;
        esac
    done <<<"$answer"
    word=${COMP_WORDS[COMP_CWORD]}
    mapfile -t COMPREPLY < <(compgen -W "${COMPREPLY[*]}" -- "$word")
}
complete -F _PROGRAM_complete PROGRAM
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] ASK $words[2..-1] 2>/dev/null | string match -v -r '^:[0-9]+$'
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
"#;

const POWERSHELL: &str = r#"# powershell completion for PROGRAM
Register-ArgumentCompleter -Native -CommandName 'PROGRAM' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { $_.ToString() })
    if (-not $wordToComplete) { $words += '""' }
    PROGRAM ASK @words 2>$null | Where-Object { $_ -notmatch '^:\d+$' } | ForEach-Object {
        $word, $about = $_ -split "`t", 2
        if (-not $about) { $about = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $about)
    }
}
"#;

const ZSH: &str = r#"#compdef PROGRAM
_PROGRAM() {
    local -a answers
    local line
    for line in "${(@f)$("${words[1]}" ASK "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
        :*) [[ $line == :0 && ${#answers} == 0 ]] && _files ;;
        ?*) answers+=("${${line//:/\\:}/$'\t'/:}") ;;
        esac
    done
    _describe 'PROGRAM' answers
}
compdef _PROGRAM PROGRAM
"#;
