package internalapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// TestAnEventIsEncodedOnceAndIsItself: streams that write the same event share its line, and
// none gets another's, however far apart they are.
func TestAnEventIsEncodedOnceAndIsItself(t *testing.T) {
	var lines encoded
	event := func(seq uint64) wire.Event { return wire.Event{Seq: seq, Kind: wire.EventChanged, All: seq%2 == 0} }
	first, err := lines.of(event(3))
	require.NoError(t, err)
	again, err := lines.of(event(3))
	require.NoError(t, err)
	require.Same(t, &first[0], &again[0])
	for _, seq := range []uint64{1, 2, 3 + 16, 3, 3 + 32, 3 + 16, 0} {
		data, err := lines.of(event(seq))
		require.NoError(t, err)
		require.Equal(t, byte('\n'), data[len(data)-1])
		var line api.Line
		require.NoError(t, json.Unmarshal(data, &line))
		require.Equal(t, event(seq), *line.Event, seq)
	}
}
