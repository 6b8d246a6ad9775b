package connectors

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agentid-dev/agentid"
)

// MaxInteger is 2^53, above which JSON readers disagree on a number.
const MaxInteger = int64(1) << 53

// Money is an amount in minor units of a currency (ISO 4217, lower case).
type Money struct {
	Amount   int64
	Currency string
}

// source says where an input travels. The zero source is invalid.
type source int

const (
	_ source = iota
	inPath
	inQuery
	inForm
)

// valueType is how an input's text is read. The zero valueType refuses every text.
type valueType int

const (
	_ valueType = iota
	typeID
	typeInteger
	typeString
	typeEnum
	typeMoney
)

const defaultStringLength = 500

type input struct {
	name      string // what policy and constraints call it
	parameter string // what the API calls it: "invoice_items[0][amount]"; mostly the same
	source    source
	typ       valueType
	id        *regexp.Regexp // typeID
	currency  string         // typeMoney: the variable with its currency
	values    []string       // typeEnum
	max       int            // typeString
	required  bool
}

// parse reads one text exactly: a string for ids, strings and enums, an int64 for
// integers and money.
func (in input) parse(text string) (any, error) {
	switch in.typ {
	case typeID:
		if in.id.MatchString(text) {
			return text, nil
		}
		return nil, invalid(in.parameter, "is not an id of the expected kind")
	case typeInteger:
		return parseInteger(in.parameter, text, 0)
	case typeMoney:
		return parseInteger(in.parameter, text, 1)
	case typeEnum:
		if slices.Contains(in.values, text) {
			return text, nil
		}
		return nil, invalid(in.parameter, "is not one of "+strings.Join(in.values, ", "))
	case typeString:
		if text == "" || len(text) > in.max || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return nil, invalid(in.parameter, "is empty, too long or holds control characters")
		}
		return text, nil
	default:
		return nil, invalid(in.parameter, "cannot be read")
	}
}

// parseInteger admits plain decimal digits without sign, leading zero, fraction or
// exponent, at least low and at most MaxInteger.
func parseInteger(name, text string, low int64) (int64, error) {
	if text == "" || len(text) > 16 || strings.Trim(text, "0123456789") != "" || len(text) > 1 && text[0] == '0' {
		return 0, invalid(name, "must be a plain whole number, in minor units where it is money")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > MaxInteger {
		return 0, invalid(name, "must lie between "+strconv.FormatInt(low, 10)+" and 2^53")
	}
	return n, nil
}

// The reasons of refused inputs.
const (
	reasonInvalid  = "parameter_invalid"
	reasonMissing  = "parameter_missing"
	reasonRepeated = "parameter_repeated"
	reasonUnknown  = "parameter_unknown"
)

func invalid(field, message string) *agentid.Error { return refuse(reasonInvalid, field, message) }

func refuse(reason, field, message string) *agentid.Error {
	if len(field) > 64 {
		field = strings.ToValidUTF8(field[:64], "")
	}
	return &agentid.Error{Kind: agentid.KindInvalid, Reason: reason, Field: field, Message: message}
}
