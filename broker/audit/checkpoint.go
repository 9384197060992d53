package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keyward/keyward/broker"
)

// Checkpoint says what a log held: that the record of Seq was the last, and the
// hash of the last line. As text it is a checkpoint of C2SP, signed as a note:
//
//	<origin>
//	<seq>
//	<hash, in base64>
//	time <when, RFC 3339>
//
//	— <key's name> <signature>
//
// The hash is that of a chain, where C2SP has that of a tree: whoever has the
// key and all of the log can check it, and nobody can prove a single record.
// Kept elsewhere, it shows what was later changed or cut off.
type Checkpoint struct {
	Origin string
	Seq    uint64
	Hash   [sha256.Size]byte
	Time   time.Time
	// Note is the signed text.
	Note string
}

// NewKey makes a private key of that name, in the text format of signed notes.
func NewKey(name string) (private string, err error) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err == nil {
		_, err = note.NewVerifier(public) // it looks at the name
	}
	if err != nil {
		return "", badKey(`want a name without spaces and "+", such as audit.example.org/keyward`)
	}
	return private, nil
}

// Signer signs checkpoints. It may be used concurrently.
type Signer struct {
	signer note.Signer
	origin string
	public string
}

// NewSigner takes a key's text, as NewKey made it. An empty origin is the key's
// name.
func NewSigner(private, origin string) (*Signer, error) {
	private = strings.TrimSpace(private)
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, badKey("this is no private key for checkpoints; make one with: keyward audit key --new NAME FILE")
	}
	// PRIVATE+KEY+<name>+<hash>+<base64 of the algorithm and the seed>
	seed, err := base64.StdEncoding.DecodeString(strings.SplitN(private, "+", 5)[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, badKey("this is no Ed25519 key")
	}
	key, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, badKey("this is no Ed25519 key")
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), key)
	if err != nil {
		return nil, badKey("its name is none that a signed note can have")
	}
	if origin == "" {
		origin = signer.Name()
	}
	if strings.ContainsFunc(origin, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.TrimSpace(origin) == "" {
		return nil, badKey("an origin is one line of text")
	}
	return &Signer{signer: signer, origin: origin, public: public}, nil
}

// PublicKey is the text by which Keys verifies what s signs.
func (s *Signer) PublicKey() string { return s.public }

// sign returns the note for a log whose last record and line are these.
func (s *Signer) sign(seq uint64, prev digest, at time.Time) (string, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n%s%s\n", s.origin, seq, base64.StdEncoding.EncodeToString(prev[:]), timeBegins, at.UTC().Format(time.RFC3339Nano))
	signed, err := note.Sign(&note.Note{Text: text}, s.signer)
	return string(signed), err
}

const timeBegins = "time "

// ownEvent is what the log records of itself.
func ownEvent(a broker.Action, at time.Time) broker.Event {
	return broker.Event{Time: at, Action: a, Decision: broker.Decision{Allowed: true}, Outcome: broker.OutcomeOK}
}

// ParseCheckpoint reads a checkpoint. It does not look at signatures: see Keys.
func ParseCheckpoint(text string) (Checkpoint, error) {
	bad := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("audit: this is no checkpoint: %s", what)
	}
	body, _, ok := strings.Cut(text, "\n\n")
	if !ok {
		return bad("it has no signature")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return bad("want its origin, a number and a hash in the first three lines")
	}
	c := Checkpoint{Origin: lines[0], Note: text}
	var err error
	if c.Seq, err = strconv.ParseUint(lines[1], 10, 64); err != nil || strconv.FormatUint(c.Seq, 10) != lines[1] {
		return bad("its second line is no number of records")
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(sum) != sha256.Size {
		return bad("its third line is no SHA-256 in base64")
	}
	c.Hash = [sha256.Size]byte(sum)
	for _, l := range lines[3:] {
		if at, ok := strings.CutPrefix(l, timeBegins); ok {
			if c.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
				return bad("its time is none")
			}
		}
	}
	return c, nil
}

// Keys are the public keys that a log's checkpoints may be signed with.
type Keys struct{ list note.Verifiers }

// ParseKeys reads public keys, one a line. "#" begins a comment.
func ParseKeys(text string) (*Keys, error) {
	var all []note.Verifier
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "PRIVATE+KEY+") {
			return nil, badKey("this is the private key; give the public one: keyward audit key FILE prints it")
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, badKey("this is no public key; keyward audit key FILE prints one: NAME+HASH+KEY")
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil, badKey("there is no public key; keyward audit key FILE prints one: NAME+HASH+KEY")
	}
	return &Keys{note.VerifierList(all...)}, nil
}

// Verify checks that one of the keys signed the checkpoint.
func (k *Keys) Verify(c Checkpoint) error {
	_, err := note.Open([]byte(c.Note), k.list)
	if unverified, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		names := make([]string, 0, 1)
		for _, s := range unverified.Note.UnverifiedSigs {
			names = append(names, strconv.Quote(s.Name))
		}
		return fmt.Errorf("it is signed with another key, %s", strings.Join(names, ", "))
	}
	if err != nil {
		return errors.New("its signature is not right")
	}
	return nil
}

func badKey(what string) error { return fmt.Errorf("audit: checkpoint key: %s", what) }

// checkLine reports what is wrong with the checkpoint of a line: it must say what
// the line before it is, and the line be what Log writes for it, and nothing
// else.
func checkLine(k link, keys *Keys) (Checkpoint, error) {
	c, err := ParseCheckpoint(k.note)
	if err != nil {
		return c, err
	}
	if c.Seq != k.seq-1 || c.Hash != k.prev {
		return c, fmt.Errorf("it is of another place or log: it says that record %d is the last before it", c.Seq)
	}
	record, err := encode(nil, ownEvent(ActionCheckpoint, c.Time), k.note)
	if err != nil {
		return c, err
	}
	if line, _ := appendLine(nil, k.seq, record, k.prev); !bytes.Equal(bytes.TrimSuffix(line, newline), k.text) {
		return c, errors.New("its line is not as it was written")
	}
	if keys != nil {
		return c, keys.Verify(c)
	}
	return c, nil
}
