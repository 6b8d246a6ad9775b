package condition

import (
	"fmt"
	"sync"

	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxKept bounds the compiled caveats that a Reader keeps: far above what one schema has.
const maxKept = 256

// Reader reads conditions that were written down, and compiles each caveat once. The zero
// Reader is ready; it is safe for concurrent use.
type Reader struct {
	mu   sync.Mutex
	kept map[string]*Caveat // by definition
}

// Read is the condition that was written down.
func (r *Reader) Read(w Written) (Condition, error) {
	caveat, err := r.caveat(w.Caveat)
	if err != nil {
		return Condition{}, err
	}
	context := &structpb.Struct{}
	if err := proto.Unmarshal(w.Context, context); err != nil {
		return Condition{}, fmt.Errorf("read a caveat's context: %w", err)
	}
	return caveat.With(context)
}

func (r *Reader) caveat(definition []byte) (*Caveat, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.kept[string(definition)]; ok {
		return c, nil
	}
	def := &core.CaveatDefinition{}
	if err := proto.Unmarshal(definition, def); err != nil {
		return nil, fmt.Errorf("read a caveat: %w", err)
	}
	c, err := Compile(def)
	if err != nil {
		return nil, err
	}
	if r.kept == nil || len(r.kept) >= maxKept {
		r.kept = map[string]*Caveat{}
	}
	r.kept[string(definition)] = c
	return c, nil
}
