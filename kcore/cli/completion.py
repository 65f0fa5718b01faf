"""``kcore completion``: scripts for bash, zsh and fish, made from the program's own parser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from kcore.cli import Command


def _arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("shell", choices=["bash", "zsh", "fish"])


def _run(args: argparse.Namespace) -> int:
    words = dict(_words())
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](words))
    return 0


def _words() -> Iterator[tuple[str, list[str]]]:
    """What may follow each command: its options and the choices of its arguments."""
    from kcore.cli import commands, parser

    root = parser(commands())
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                words: list[str] = []
                for a in sub._actions:
                    words += a.option_strings or [str(c) for c in a.choices or ()]
                yield name, words


def _bash(words: dict[str, list[str]]) -> str:
    cases = "\n".join(
        f'    {name}) COMPREPLY=($(compgen -W "{" ".join(w)}" -- "$cur"));;' for name, w in words.items()
    )
    return f"""# bash completion for kcore; source it, or put it into /etc/bash_completion.d
_kcore() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur")); return; fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
}}
complete -o default -F _kcore kcore
"""


def _zsh(words: dict[str, list[str]]) -> str:
    cases = "\n".join(f"    {name}) compadd -- {' '.join(w)};;" for name, w in words.items())
    return f"""#compdef kcore
_kcore() {{
  if (( CURRENT == 2 )); then compadd -- {" ".join(words)}; return; fi
  case $words[2] in
{cases}
  esac
  _files
}}
compdef _kcore kcore
"""


def _fish(words: dict[str, list[str]]) -> str:
    lines = ["# fish completion for kcore"]
    lines.append(f"complete -c kcore -n __fish_use_subcommand -f -a '{' '.join(words)}'")
    for name, w in words.items():
        lines.append(f"complete -c kcore -n '__fish_seen_subcommand_from {name}' -a '{' '.join(w)}'")
    return "\n".join(lines) + "\n"


COMPLETION = Command(
    "completion",
    "Print a completion script for your shell.",
    _arguments,
    _run,
    "  source <(kcore completion bash)\n  kcore completion fish > ~/.config/fish/completions/kcore.fish",
)
