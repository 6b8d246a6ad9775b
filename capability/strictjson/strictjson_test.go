package strictjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                      ``,
		"white space only":           "  ",
		"trailing data":              `{"a":1} x`,
		"second value":               `{"a":1}{"a":1}`,
		"duplicate name":             `{"sub":"a","sub":"b"}`,
		"duplicate name by escape":   `{"sub":"a","s\u0075b":"b"}`,
		"case variant":               `{"sub":"a","Sub":"b"}`,
		"case variant beyond ASCII":  `{"k":1,"` + "\u212a" + `":2}`,
		"nested duplicate":           `{"a":[{"b":1,"b":2}]}`,
		"NUL in name by escape":      `{"a\u0000":1}`,
		"NUL in text":                "{\"a\x00\":1}",
		"raw control in string":      "\"a\nb\"",
		"bad UTF-8":                  "\"\xff\"",
		"bad UTF-8 after an escape":  "\"\\n\xff\"",
		"lone high surrogate":        `"\ud800"`,
		"lone low surrogate":         `"\udc00"`,
		"surrogate and other escape": `"\ud800\n"`,
		"reversed surrogates":        `"\udc00\ud800"`,
		"leading zero":               `01`,
		"plus":                       `+1`,
		"no fraction":                `1.`,
		"no exponent":                `1e`,
		"minus only":                 `-`,
		"hexadecimal":                `0x10`,
		"NaN":                        `NaN`,
		"trailing comma":             `[1,]`,
		"trailing comma in object":   `{"a":1,}`,
		"unquoted name":              `{a:1}`,
		"single quotes":              `{'a':1}`,
		"comment":                    `/**/1`,
		"byte order mark":            "\ufeff1",
		"unclosed":                   `{"a":[1`,
		"unclosed string":            `"a`,
		"unknown escape":             `"\x"`,
		"short escape":               `"\u12`,
		"bad hexadecimal":            `"\u12g4"`,
		"too deep":                   strings.Repeat("[", 33) + strings.Repeat("]", 33),
		"a million brackets":         strings.Repeat("[", 60_000),
		"too many values":            "[" + strings.Repeat("1,", 4096) + "1]",
		"too long":                   `"` + strings.Repeat("a", 70_000) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := Parse([]byte(text), Limits{}); err == nil || v.Kind() != Invalid {
				t.Fatalf("accepted as %v", v.Kind())
			}
		})
	}
}

func TestRefusesDuplicateAmongManyNames(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, `"name%d":1,`, i)
	}
	if _, err := Parse([]byte("{"+b.String()+`"other":1}`), Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"name3", "NAME3", "name30", "Name30"} {
		if _, err := Parse([]byte("{"+b.String()+`"`+name+`":1}`), Limits{}); err == nil {
			t.Errorf("%s accepted twice", name)
		}
	}
}

func TestInteger(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-1": -1, "9007199254740992": MaxInteger, "-9007199254740992": -MaxInteger} {
		v, err := Parse([]byte(text), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := v.Integer(); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"1.0", "1e3", "1E400", "-0", "9007199254740993", "-9007199254740993", "99999999999999999999", `"1"`, "true", "null", "[1]"} {
		v, err := Parse([]byte(text), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := v.Integer(); err == nil {
			t.Errorf("%s accepted as %d", text, n)
		}
	}
}

// TestReadersOfOtherKinds: a reader of one kind gives nothing of another kind, even
// to a caller who drops its second result.
func TestReadersOfOtherKinds(t *testing.T) {
	for _, text := range []string{`7`, `true`, `null`, `[1]`, `{"a":1}`} {
		v, err := Parse([]byte(text), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := v.Text(); s != "" || ok {
			t.Errorf("%s as a text: %q", text, s)
		}
	}
	v, err := Parse([]byte(`"true"`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := v.Flag(); b || ok {
		t.Error("a text is a flag")
	}
}

// TestAgreesWithStandardLibrary holds every accepted text against encoding/json.
func TestAgreesWithStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := genTree(3).Draw(t, "tree")
		text, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Parse(text, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		compare(t, text, v)
	})
}

func genTree(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		choice := rapid.IntRange(0, 5).Draw(t, "kind")
		if depth == 0 && choice > 3 {
			choice = 0
		}
		switch choice {
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Float64Range(-1e20, 1e20).Draw(t, "number")
		case 3:
			return nil
		case 4:
			return rapid.SliceOfN(genTree(depth-1), 0, 4).Draw(t, "array")
		case 5:
			m := map[string]any{}
			for i := range rapid.IntRange(0, 20).Draw(t, "size") {
				m[fmt.Sprintf("%d%s", i, rapid.StringMatching(`[a-zé"\\]{0,4}`).Draw(t, "name"))] = genTree(depth-1).Draw(t, "member")
			}
			return m
		}
		return rapid.String().Draw(t, "string")
	})
}

func compare(t interface{ Fatalf(string, ...any) }, text []byte, v Value) {
	var std any
	if err := json.Unmarshal(text, &std); err != nil {
		t.Fatalf("accepted what encoding/json refuses: %q: %v", text, err)
	}
	if got := plain(v); !reflect.DeepEqual(got, std) {
		t.Fatalf("%q: %#v, encoding/json has %#v", text, got, std)
	}
}

func plain(v Value) any {
	switch v.Kind() {
	case Bool:
		b, _ := v.Flag()
		return b
	case Number:
		var f float64
		if json.Unmarshal([]byte(v.text), &f) != nil {
			return v.text
		}
		return f
	case String:
		s, _ := v.Text()
		return s
	case Array:
		items, _ := v.Items()
		out := make([]any, 0, len(items))
		for _, item := range items {
			out = append(out, plain(item))
		}
		return out
	case Object:
		members, _ := v.Members()
		out := make(map[string]any, len(members))
		for _, m := range members {
			out[m.Name] = plain(m.Value)
		}
		return out
	case Null, Invalid:
	}
	return nil
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,-2.5e3,true,null,"x\u00e9\ud83d\ude00"]}`, `{"sub":"a","Sub":"b"}`, `"\ud800"`, `[[[[]]]]`, `1e400`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse(data, Limits{})
		if err != nil {
			return
		}
		var std any
		if err := json.Unmarshal(data, &std); err != nil {
			if strings.Contains(err.Error(), "cannot unmarshal number") {
				return // out of float64's range; Integer refuses it
			}
			t.Fatalf("accepted what encoding/json refuses: %q: %v", data, err)
		}
		if got := plain(v); !reflect.DeepEqual(got, std) {
			t.Fatalf("%q: %#v, encoding/json has %#v", data, got, std)
		}
	})
}
