package main

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
)

const (
	// completeFiles is the line by which the scripts leave it to the shell.
	completeFiles = ":files"
	// completePatience bounds what a list of names may take: somebody waits at
	// a prompt.
	completePatience = time.Second
)

// The values of the tag "complete", which says what an argument or flag names.
const (
	namesSecret             = "secrets"
	namesDeleted            = "deleted"
	namesKey                = "keys"
	namesDeletedKey         = "deletedKeys"
	namesCertificate        = "certificates"
	namesDeletedCertificate = "deletedCertificates"
	namesAction             = "actions"
	namesFile               = "files"
)

type completeCmd struct {
	Words []string `arg:"" optional:"" help:"The words after keyward, up to and with the one that is being typed."`
}

// candidate is a word that may come next.
type candidate struct{ word, help string }

// Run prints a line for each word that may come next: the word, a tab, what it
// is. What goes wrong on
// the way is kept quiet: who is typing a command has asked nothing yet.
func (c *completeCmd) Run(a *app, k *kong.Context) error {
	if len(c.Words) == 0 {
		return nil
	}
	last := len(c.Words) - 1
	line := readLine(k.Model.Node, c.Words[:last])
	current := c.Words[last]
	if line.expects(current) == namesFile {
		_, err := fmt.Fprintln(a.out, completeFiles)
		return err
	}
	for _, found := range line.candidates(a, current) {
		if !strings.HasPrefix(found.word, current) {
			continue
		}
		if _, err := fmt.Fprintf(a.out, "%s\t%s\n", found.word, found.help); err != nil {
			return err
		}
	}
	return nil
}

// commandLine is what the words before the cursor say.
type commandLine struct {
	node     *kong.Node        // the command
	flags    map[string]string // those that have a value
	pending  *kong.Flag        // the one whose value is being typed, if any
	position int               // arguments so far
	ended    bool              // no flags from here on
}

// readLine reads words as the parser would, forgiving what it would not.
func readLine(root *kong.Node, words []string) *commandLine {
	l := &commandLine{node: root, flags: map[string]string{}}
	for _, word := range words {
		switch {
		case l.pending != nil:
			l.flags[l.pending.Name] = word
			l.pending = nil
		case l.ended:
			l.position++
		case word == "--":
			l.ended = true
		case strings.HasPrefix(word, "-") && word != "-":
			name, value, given := strings.Cut(word, "=")
			f := l.flag(name)
			if given && f != nil {
				l.flags[f.Name] = value
			} else if f != nil && !f.IsBool() {
				l.pending = f
			}
		default:
			l.enter(word)
		}
	}
	return l
}

// enter takes a word that is no flag.
func (l *commandLine) enter(word string) {
	for _, child := range l.node.Children {
		if child.Name == word && !child.Hidden {
			l.node = child
			return
		}
	}
	if arg := l.argument(); arg != nil && arg.PassthroughMode != kong.PassThroughModeNone {
		l.ended = true
	}
	l.position++
}

// flag finds a flag by --long or -s.
func (l *commandLine) flag(name string) *kong.Flag {
	for _, group := range l.node.AllFlags(true) {
		for _, f := range group {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

// argument returns the argument that comes next. The last one may repeat.
func (l *commandLine) argument() *kong.Positional {
	all := l.node.Positional
	switch {
	case l.position < len(all):
		return all[l.position]
	case len(all) > 0 && all[len(all)-1].IsCumulative():
		return all[len(all)-1]
	}
	return nil
}

// expects returns what the word being typed names, as a value of the tag
// "complete", or "".
func (l *commandLine) expects(current string) string {
	if f := l.pending; f != nil {
		if f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" {
			return namesFile
		}
		return f.Tag.Get("complete")
	}
	if strings.HasPrefix(current, "-") && !l.ended {
		return ""
	}
	if arg := l.argument(); arg != nil {
		return arg.Tag.Get("complete")
	}
	return ""
}

// candidates returns what may stand in place of current.
func (l *commandLine) candidates(a *app, current string) []candidate {
	switch names := l.expects(current); {
	case names == namesAction:
		return words(broker.Actions())
	case names != "":
		return l.names(a, names)
	case l.pending != nil:
		return words(l.pending.EnumSlice())
	case strings.HasPrefix(current, "-") && !l.ended:
		return l.flagCandidates()
	}
	if arg := l.argument(); arg != nil {
		return words(arg.EnumSlice())
	}
	var all []candidate
	for _, child := range l.node.Children {
		if !child.Hidden {
			all = append(all, candidate{child.Name, firstSentence(child.Help)})
		}
	}
	return all
}

func (l *commandLine) flagCandidates() []candidate {
	var all []candidate
	for _, group := range l.node.AllFlags(true) {
		for _, f := range group {
			all = append(all, candidate{"--" + f.Name, firstSentence(f.Help)})
		}
	}
	return all
}

// names asks the broker for the names there are. Without an answer there are
// none to offer.
func (l *commandLine) names(a *app, what string) []candidate {
	ctx, cancel := context.WithTimeout(a.ctx, completePatience)
	defer cancel()
	flags := callFlags{
		Context: l.flags["context"], TokenFile: l.flags["token-file"], Vault: l.flags["vault"], Timeout: completePatience,
	}
	cl, err := flags.dial(a)
	if err != nil {
		return nil
	}
	defer cl.close()
	vault, err := cl.vaultName()
	if err != nil {
		return nil
	}
	return cl.candidates(ctx, what, vault)
}

// candidates are the names in a vault of one kind.
func (c *client) candidates(ctx context.Context, what, vault string) []candidate {
	var all []candidate
	add := func(name, word string, at *timestamppb.Timestamp) {
		all = append(all, candidate{path.Base(name), word + " " + timeText(at)})
	}
	switch what {
	case namesSecret:
		list, _ := c.listSecrets(ctx, vault)
		for _, s := range list.GetSecrets() {
			add(s.GetName(), "updated", s.GetUpdateTime())
		}
	case namesDeleted:
		list, _ := c.listDeletedSecrets(ctx, vault)
		for _, d := range list.GetDeletedSecrets() {
			add(d.GetName(), "deleted", d.GetDeleteTime())
		}
	case namesKey:
		list, _ := c.listKeys(ctx, vault)
		for _, k := range list.GetKeys() {
			add(k.GetName(), "updated", k.GetUpdateTime())
		}
	case namesDeletedKey:
		list, _ := c.listDeletedKeys(ctx, vault)
		for _, d := range list.GetDeletedKeys() {
			add(d.GetName(), "deleted", d.GetDeleteTime())
		}
	case namesCertificate:
		list, _ := c.listCertificates(ctx, vault)
		for _, x := range list.GetCertificates() {
			add(x.GetName(), "expires", x.GetExpireTime())
		}
	case namesDeletedCertificate:
		list, _ := c.listDeletedCertificates(ctx, vault)
		for _, d := range list.GetDeletedCertificates() {
			add(d.GetName(), "deleted", d.GetDeleteTime())
		}
	}
	return all
}

func words[S ~string](all []S) []candidate {
	found := make([]candidate, 0, len(all))
	for _, w := range all {
		if w != "" {
			found = append(found, candidate{word: string(w)})
		}
	}
	return found
}

// firstSentence is what fits beside a word.
func firstSentence(help string) string {
	s, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(s, ".")
}
