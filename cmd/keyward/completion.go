package main

import "embed"

//go:embed completion.bash completion.zsh completion.fish
var completionScripts embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help shows how to load each script.
func (*completionCmd) Help() string {
	return `The script asks keyward itself what may come next, so that it does not age. Where a secret's name belongs it lists those that you may list, if the broker answers within a second; the audit log has that as any other list.

  source <(keyward completion bash)                              in ~/.bashrc
  source <(keyward completion zsh)                               in ~/.zshrc, after compinit
  keyward completion fish > ~/.config/fish/completions/keyward.fish`
}

// Run prints a shell's script.
func (c *completionCmd) Run(a *app) error {
	script, err := completionScripts.ReadFile("completion." + c.Shell)
	if err != nil {
		return err
	}
	_, err = a.out.Write(script)
	return err
}
