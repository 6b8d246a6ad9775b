package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agentid-dev/agentid"
)

const maxFile = 256 // a key's text is 59 bytes

// Resolve reads the key that ref names: "file:PATH", which must exist, or "env:NAME".
func Resolve(ref string) (*Key, error) {
	scheme, rest, _ := strings.Cut(ref, ":")
	switch {
	case rest == "":
	case scheme == "file":
		return File(rest)
	case scheme == "env":
		text := os.Getenv(rest)
		if text == "" {
			return nil, fmt.Errorf("seal: environment variable %s is empty", rest)
		}
		return FromText(agentid.NewSecret(text))
	}
	return nil, errors.New("seal: want file:PATH or env:NAME")
}

// File reads the key at path. It refuses anything but a regular file of mode 0600 or
// 0400 that belongs to this user.
func File(path string) (*Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of the opened file: it cannot be exchanged in between
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	k, err := FromText(agentid.NewSecret(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// FileOrNew is File, and makes a key at path when there is no file: created reports
// that, so that the operator can be told to back it up. Two processes that start at
// once agree on one key.
func FileOrNew(path string) (key *Key, created bool, err error) {
	key, err = File(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("seal: make a key: %w", err)
	} else if err == nil {
		created = true
	}
	key, err = File(path)
	return key, created, err
}

// create writes a new key beside path and links it there, so that path never names
// half a key and an existing key is never replaced.
func create(path string) (err error) {
	_, text, err := Generate()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".seal-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(text.Reveal())
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("seal: %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode != 0o600 && mode != 0o400 {
		return fmt.Errorf("seal: %s has mode %04o, want 0600: it may have been read by others", path, mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("seal: %s belongs to user %d, want %d", path, st.Uid, os.Geteuid())
	}
	if info.Size() > maxFile {
		return fmt.Errorf("seal: %s has %d bytes: %w", path, info.Size(), errNotKey)
	}
	return nil
}
