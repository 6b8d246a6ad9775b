package fleetcert

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	ownerOnly  = 0o600
	folderMode = 0o700
	othersMay  = 0o077
)

// Write puts a pair into dir as tls.crt, tls.key and ca.crt, readable by their owner
// only, each whole or not at all; the key goes first, so that a process which reads
// again when the certificate changes finds both.
func (p Pair) Write(dir string) error {
	if err := writeAll(dir, map[string][]byte{AuthorityFile: p.Authority, KeyFile + ".new": p.Key, CertFile + ".new": p.Cert}); err != nil {
		return err
	}
	for _, name := range []string{KeyFile, CertFile} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("fleetcert: %w", err)
		}
	}
	return syncDir(dir)
}

func writeAll(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fmt.Errorf("fleetcert: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".fleet-*") // mode 0600
	if err != nil {
		return fmt.Errorf("fleetcert: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(ownerOnly), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fleetcert: write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fleetcert: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// readSecret reads a key's file, which only its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	if info.Mode().Perm()&othersMay != 0 {
		return nil, fmt.Errorf("fleetcert: %s: mode is %#o; a key's file must be readable by its owner only (chmod 600)", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	return data, nil
}
