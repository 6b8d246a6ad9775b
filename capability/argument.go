package capability

import (
	"slices"

	"github.com/agentid-dev/agentid"
)

// validate checks a declaration.
func (a Argument) validate(path string) error {
	switch a.Type {
	case ArgumentID, ArgumentString, ArgumentCurrency:
		if a.Minimum != nil || a.Maximum != nil {
			return agentid.Invalidf(path, "minimum and maximum are for integers")
		}
	case ArgumentInteger:
		if a.OneOf != nil {
			return agentid.Invalidf(path+".one_of", "is for texts")
		}
		if low := a.least(); low < 0 || low > a.most() || a.most() > MaxInteger {
			return agentid.Invalidf(path+".maximum", "want minimum and maximum in order, from 0 to 2^53")
		}
	default:
		return agentid.Invalidf(path+".type", "want id, string, integer or currency")
	}
	if a.OneOf != nil && len(a.OneOf) == 0 || len(a.OneOf) > MaxElements {
		return agentid.Invalidf(path+".one_of", "want 1 to %d values", MaxElements)
	}
	for _, value := range a.OneOf {
		if _, err := a.value(value, path+".one_of"); err != nil {
			return err
		}
	}
	if a.Default == nil {
		return nil
	}
	_, err := a.value(a.Default, path+".default")
	return err
}

// value checks one value against the declaration and gives a string or an int64.
func (a Argument) value(given any, path string) (any, error) {
	if given == nil {
		return nil, detailError(path, "is missing")
	}
	if a.Type == ArgumentInteger {
		n, err := wholeNumber(given)
		if err != nil {
			return nil, detailError(path, "%s", err.Error())
		}
		if n < a.least() || n > a.most() {
			return nil, detailError(path, "want a whole number from %d to %d", a.least(), a.most())
		}
		return n, nil
	}
	text, ok := given.(string)
	if !ok {
		return nil, detailError(path, "want a string, have a %T", given)
	}
	switch a.Type {
	case ArgumentID:
		if _, err := agentid.ResourceRef("resource", "x", text); err != nil {
			return nil, detailError(path, "want an id of letters, digits, '_', '-' and '='").WithCause(err)
		}
	case ArgumentString:
		if !isText(text) {
			return nil, detailError(path, "want 1 to %d bytes without control characters", MaxText)
		}
	case ArgumentCurrency:
		if !isCurrency(text) {
			return nil, detailError(path, "want an ISO 4217 code in lower case")
		}
	default:
		return nil, detailError(path, "has no type")
	}
	if a.OneOf != nil && !slices.Contains(a.OneOf, text) {
		return nil, detailError(path, "is not one of the allowed values")
	}
	return text, nil
}

func (a Argument) least() int64 {
	if a.Minimum == nil {
		return 0
	}
	return *a.Minimum
}

func (a Argument) most() int64 {
	if a.Maximum == nil {
		return MaxInteger
	}
	return *a.Maximum
}

// sample is a value to try a template with.
func (a Argument) sample() any {
	switch {
	case a.Default != nil:
		return a.Default
	case len(a.OneOf) > 0:
		return a.OneOf[0]
	case a.Type == ArgumentInteger:
		return max(a.least(), min(1, a.most()))
	case a.Type == ArgumentCurrency:
		return "usd"
	}
	return "sample"
}
