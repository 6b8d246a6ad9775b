package policy

// KeyOf is the key that a question and its subject are remembered and shared under.
func KeyOf(q Question, h Holder) ([]byte, bool) {
	s := &Subject{lineage: h.Lineage, principal: h.Principal, ownAuthority: h.OwnAuthority}
	s.key = appendSubject(nil, s)
	return appendKey(nil, exactly, &q, s)
}
