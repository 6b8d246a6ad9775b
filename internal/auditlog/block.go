package auditlog

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// maxBlock is how many records one row holds at most.
const maxBlock = 256

// maxPacked bounds a row's records before compression.
const maxPacked = maxBlock * (MaxEncoded + 1)

// pack joins canonical records, which are lines without a line break in them.
func pack(entries []Entry) []byte {
	if len(entries) == 1 {
		return entries[0].Encoded()
	}
	size := 0
	for _, e := range entries {
		size += len(e.Encoded()) + 1
	}
	lines := make([]byte, 0, size)
	for _, e := range entries {
		lines = append(append(lines, e.Encoded()...), '\n')
	}
	return s2.Encode(nil, lines)
}

// unpack gives the n canonical records of a row.
func unpack(n int64, packed []byte) ([][]byte, error) {
	if n == 1 {
		return [][]byte{packed}, nil
	}
	size, err := s2.DecodedLen(packed)
	if err != nil || size > maxPacked {
		return nil, fmt.Errorf("auditlog: a row of %d bytes, unpacked %d, cannot be read: %w", len(packed), size, err)
	}
	lines, err := s2.Decode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("auditlog: a row cannot be read: %w", err)
	}
	all := bytes.SplitAfter(lines, []byte{'\n'})
	if int64(len(all)) != n+1 || len(all[n]) != 0 {
		return nil, fmt.Errorf("auditlog: a row of %d records holds %d", n, len(all)-1)
	}
	for i := range all[:n] {
		all[i] = all[i][:len(all[i])-1]
	}
	return all[:n], nil
}
