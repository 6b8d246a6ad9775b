package graphstore

import (
	"slices"
	"sort"
	"strings"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"
)

// keyRange is the keys from lo up to, not including, hi.
type keyRange struct{ lo, hi string }

// plan is how a filter is read: disjoint ascending key ranges in one direction,
// and the filter itself for what the ranges do not say.
type plan struct {
	dir    direction
	ranges []keyRange
	filter datastore.RelationshipsFilter

	// probe is set when many resources are asked about one subject: the subject's
	// own resources, in reverse order, which are usually few. They give the same
	// rows in the same order, if there are less than probeRows of them.
	probe *keyRange
}

// probeRows is how many rows a probe reads before it gives up; probeFrom is how
// many resources make one worth trying.
const (
	probeRows = 48
	probeFrom = 3
)

// probeFor is the probe for a filter, or nil. The subject "*" is left out: it
// stands for everyone and has resources without number.
func probeFor(f *datastore.RelationshipsFilter) *keyRange {
	if len(f.OptionalResourceIds) < probeFrom || f.OptionalResourceRelation == "" || len(f.OptionalSubjectsSelectors) != 1 {
		return nil
	}
	s := &f.OptionalSubjectsSelectors[0]
	rels := subjectRelations(s.RelationFilter)
	if s.OptionalSubjectType == "" || len(s.OptionalSubjectIds) != 1 || s.OptionalSubjectIds[0] == tuple.PublicWildcard || len(rels) != 1 {
		return nil
	}
	r := prefixRange(s.OptionalSubjectType + separator + s.OptionalSubjectIds[0] + separator + rels[0] + separator +
		f.OptionalResourceType + separator + f.OptionalResourceRelation + separator)
	return &r
}

var everything = []keyRange{{"", "\xff"}}

// planForward picks the direction for a filter: by resource when resources are
// named, by subject when only subjects are, or when that order is wanted.
func planForward(f datastore.RelationshipsFilter, order options.SortOrder) plan {
	if f.OptionalResourceType != "" && (len(f.OptionalResourceIds) > 0 || f.OptionalResourceIDPrefix != "") {
		return plan{dir: byResource, ranges: forwardRanges(f), filter: f, probe: probeFor(&f)}
	}
	typed, named := len(f.OptionalSubjectsSelectors) > 0, len(f.OptionalSubjectsSelectors) > 0
	for _, s := range f.OptionalSubjectsSelectors {
		typed = typed && s.OptionalSubjectType != ""
		named = named && len(s.OptionalSubjectIds) > 0
	}
	if order == options.BySubject || typed && (named || f.OptionalResourceType == "") {
		return planReverse(f)
	}
	return plan{dir: byResource, ranges: forwardRanges(f), filter: f}
}

func planReverse(f datastore.RelationshipsFilter) plan {
	if len(f.OptionalSubjectsSelectors) == 0 {
		return plan{dir: bySubject, ranges: everything, filter: f}
	}
	var rs []keyRange
	for _, sel := range f.OptionalSubjectsSelectors {
		if sel.OptionalSubjectType == "" {
			return plan{dir: bySubject, ranges: everything, filter: f}
		}
		prefix := sel.OptionalSubjectType + separator
		if len(sel.OptionalSubjectIds) == 0 {
			rs = append(rs, prefixRange(prefix))
			continue
		}
		for _, id := range sel.OptionalSubjectIds {
			rels := subjectRelations(sel.RelationFilter)
			if len(rels) == 0 {
				rs = append(rs, prefixRange(prefix+id+separator))
			}
			for _, rel := range rels {
				rs = append(rs, resourceSuffix(prefix+id+separator+rel+separator, f)...)
			}
		}
	}
	return plan{dir: bySubject, ranges: merge(rs), filter: f}
}

// resourceSuffix narrows a subject's prefix by the resource parts of the filter.
func resourceSuffix(prefix string, f datastore.RelationshipsFilter) []keyRange {
	if f.OptionalResourceType == "" {
		return []keyRange{prefixRange(prefix)}
	}
	prefix += f.OptionalResourceType + separator
	if f.OptionalResourceRelation == "" {
		return []keyRange{prefixRange(prefix)}
	}
	prefix += f.OptionalResourceRelation + separator
	if len(f.OptionalResourceIds) == 0 {
		return []keyRange{prefixRange(prefix)}
	}
	rs := make([]keyRange, 0, len(f.OptionalResourceIds))
	for _, id := range f.OptionalResourceIds {
		rs = append(rs, keyRange{prefix + id, prefix + id + keyEnd})
	}
	return rs
}

func forwardRanges(f datastore.RelationshipsFilter) []keyRange {
	if f.OptionalResourceType == "" {
		return everything
	}
	prefix := f.OptionalResourceType + separator
	if f.OptionalResourceIDPrefix != "" {
		lo := prefix + f.OptionalResourceIDPrefix
		return []keyRange{{lo, after(lo)}}
	}
	if len(f.OptionalResourceIds) == 0 {
		return []keyRange{prefixRange(prefix)}
	}
	rs := make([]keyRange, 0, len(f.OptionalResourceIds)*max(1, len(f.OptionalSubjectsSelectors)))
	for _, id := range f.OptionalResourceIds {
		p := prefix + id + separator
		if f.OptionalResourceRelation == "" {
			rs = append(rs, prefixRange(p))
			continue
		}
		p += f.OptionalResourceRelation + separator
		if len(f.OptionalSubjectsSelectors) == 0 {
			rs = append(rs, prefixRange(p))
		}
		for _, sel := range f.OptionalSubjectsSelectors {
			rs = append(rs, subjectSuffix(p, sel)...)
		}
	}
	return merge(rs)
}

// subjectSuffix narrows a resource's prefix by a subject selector.
func subjectSuffix(prefix string, sel datastore.SubjectsSelector) []keyRange {
	if sel.OptionalSubjectType == "" {
		return []keyRange{prefixRange(prefix)}
	}
	prefix += sel.OptionalSubjectType + separator
	if len(sel.OptionalSubjectIds) == 0 {
		return []keyRange{prefixRange(prefix)}
	}
	rels := subjectRelations(sel.RelationFilter)
	rs := make([]keyRange, 0, len(sel.OptionalSubjectIds)*max(1, len(rels)))
	for _, id := range sel.OptionalSubjectIds {
		p := prefix + id + separator
		if len(rels) == 0 {
			rs = append(rs, prefixRange(p))
		}
		for _, rel := range rels {
			rs = append(rs, keyRange{p + rel, p + rel + keyEnd})
		}
	}
	return rs
}

// subjectRelations lists the relations a filter names; none means any, or any but
// the ellipsis.
func subjectRelations(f datastore.SubjectRelationFilter) []string {
	if f.OnlyNonEllipsisRelations {
		return nil
	}
	var rels []string
	if f.IncludeEllipsisRelation {
		rels = append(rels, tuple.Ellipsis)
	}
	if f.NonEllipsisRelation != "" {
		rels = append(rels, f.NonEllipsisRelation)
	}
	return rels
}

func prefixRange(p string) keyRange { return keyRange{p, p[:len(p)-1] + prefixEnd} }

// after is the least string above every string that begins with p.
func after(p string) string {
	b := []byte(p)
	b[len(b)-1]++ // the API allows only ASCII, so no byte is 0xff
	return string(b)
}

// merge sorts ranges and joins those that overlap, so that no row comes twice.
func merge(rs []keyRange) []keyRange {
	if len(rs) < 2 {
		return rs
	}
	sort.Slice(rs, func(i, j int) bool { return rs[i].lo < rs[j].lo })
	out := rs[:1]
	for _, r := range rs[1:] {
		last := &out[len(out)-1]
		if r.lo >= last.hi {
			out = append(out, r)
		} else if r.hi > last.hi {
			last.hi = r.hi
		}
	}
	return out
}

// between keeps what of the ranges lies above the key after and up to the key last.
// An empty string is no bound.
func between(rs []keyRange, after, last string) []keyRange {
	if after == "" && last == "" {
		return rs
	}
	var out []keyRange
	for _, r := range rs {
		if after != "" {
			r.lo = max(r.lo, after+keyEnd)
		}
		if last != "" {
			r.hi = min(r.hi, last+keyEnd)
		}
		if r.lo < r.hi {
			out = append(out, r)
		}
	}
	return out
}

// matches says whether a relationship passes the filter.
func matches(f *datastore.RelationshipsFilter, r *tuple.Relationship) bool {
	switch {
	case f.OptionalResourceType != "" && f.OptionalResourceType != r.Resource.ObjectType,
		f.OptionalResourceRelation != "" && f.OptionalResourceRelation != r.Resource.Relation,
		!strings.HasPrefix(r.Resource.ObjectID, f.OptionalResourceIDPrefix),
		len(f.OptionalResourceIds) > 0 && !slices.Contains(f.OptionalResourceIds, r.Resource.ObjectID):
		return false
	}
	caveat := ""
	if r.OptionalCaveat != nil {
		caveat = r.OptionalCaveat.CaveatName
	}
	switch f.OptionalCaveatNameFilter.Option {
	case datastore.CaveatFilterOptionNone:
	case datastore.CaveatFilterOptionHasMatchingCaveat:
		if caveat == "" || caveat != f.OptionalCaveatNameFilter.CaveatName {
			return false
		}
	case datastore.CaveatFilterOptionNoCaveat:
		if caveat != "" {
			return false
		}
	}
	switch f.OptionalExpirationOption {
	case datastore.ExpirationFilterOptionNone:
	case datastore.ExpirationFilterOptionHasExpiration:
		if r.OptionalExpiration == nil {
			return false
		}
	case datastore.ExpirationFilterOptionNoExpiration:
		if r.OptionalExpiration != nil {
			return false
		}
	}
	return len(f.OptionalSubjectsSelectors) == 0 || slices.ContainsFunc(f.OptionalSubjectsSelectors,
		func(s datastore.SubjectsSelector) bool { return selects(&s, &r.Subject) })
}

func selects(s *datastore.SubjectsSelector, sub *tuple.ObjectAndRelation) bool {
	if s.OptionalSubjectType != "" && s.OptionalSubjectType != sub.ObjectType ||
		len(s.OptionalSubjectIds) > 0 && !slices.Contains(s.OptionalSubjectIds, sub.ObjectID) {
		return false
	}
	if s.RelationFilter.OnlyNonEllipsisRelations {
		return sub.Relation != tuple.Ellipsis
	}
	rf := s.RelationFilter
	return rf.IsEmpty() || rf.IncludeEllipsisRelation && sub.Relation == tuple.Ellipsis ||
		rf.NonEllipsisRelation != "" && sub.Relation == rf.NonEllipsisRelation
}
