package capability

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/agentid-dev/agentid"
)

// attack makes the tokens of ATTACKS "Token (JWS/JWT)": each is signed with the right
// key unless the attack is in the signature.
type attack struct {
	t       *testing.T
	kit     *tokenKit
	payload []byte
	parts   []string // of a good token
}

// attacked is a hostile token and the reason that must refuse it.
type attacked struct{ token, reason string }

func newAttack(t *testing.T) *attack {
	t.Helper()
	kit := newTokenKit(t)
	payload, err := json.Marshal(goodClaims(t))
	if err != nil {
		t.Fatal(err)
	}
	good := kit.raw(tokenHeader, string(payload))
	if _, err := kit.verifier(t).Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	return &attack{t, kit, payload, strings.Split(good, ".")}
}

func (a *attack) run(t *testing.T, tokens map[string]attacked) {
	t.Helper()
	for name, c := range tokens {
		t.Run(name, func(t *testing.T) {
			claims, err := a.kit.verifier(t).Verify(t.Context(), c.token)
			wantError(t, err, agentid.KindUnauthenticated, c.reason, "")
			if !claims.IssuedAt.IsZero() || claims.ID != "" {
				t.Error("claims of a refused token were returned")
			}
		})
	}
}

// header gives the good claims under another header.
func (a *attack) header(text string) string { return a.kit.raw(text, string(a.payload)) }

// insert puts text in front of the good claims.
func (a *attack) insert(text string) string {
	return a.kit.raw(tokenHeader, "{"+text+","+string(a.payload[1:]))
}

// set replaces one claim.
func (a *attack) set(name string, value any) string {
	return a.kit.changed(a.t, map[string]any{name: value})
}

// inContext replaces one member of our own claim.
func (a *attack) inContext(name string, value any) string {
	var context map[string]any
	if err := json.Unmarshal([]byte(mustField(a.t, a.payload, ContextClaim)), &context); err != nil {
		a.t.Fatal(err)
	}
	if context[name] = value; value == nil {
		delete(context, name)
	}
	return a.set(ContextClaim, context)
}

// hs is an HMAC under the bytes of the public key.
func (a *attack) hs() string {
	input := parts64(`{"alg":"HS256","typ":"at+jwt","kid":"ed"}`, a.payload)
	mac := hmac.New(sha256.New, a.kit.keys[base+"#ed"].Key.(ed25519.PublicKey))
	_, _ = mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestAttackHeaders: algorithms, keys and types that are not ours.
func TestAttackHeaders(t *testing.T) {
	a := newAttack(t)
	a.run(t, map[string]attacked{
		"alg none":                         {parts64(`{"alg":"none","typ":"at+jwt","kid":"ed"}`, a.payload) + ".AA", ReasonMalformed},
		"alg none without a signature":     {parts64(`{"alg":"none","typ":"at+jwt","kid":"ed"}`, a.payload) + ".", ReasonMalformed},
		"alg nOnE":                         {a.header(`{"alg":"nOnE","typ":"at+jwt","kid":"ed"}`), ReasonMalformed},
		"HS256 signed with the public key": {a.hs(), ReasonMalformed},
		"jku to attacker":                  {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","jku":"https://evil.example"}`), ReasonMalformed},
		"x5u to attacker":                  {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","x5u":"https://evil.example"}`), ReasonMalformed},
		"jwk of attacker":                  {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","jwk":{"kty":"OKP"}}`), ReasonMalformed},
		"kid ../../dev/null":               {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"../../dev/null"}`), ReasonKey},
		"kid SQL":                          {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed' OR 1=1 --"}`), ReasonKey},
		"kid of 10 kB":                     {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"` + strings.Repeat("k", 10_000) + `"}`), ReasonMalformed},
		"kid missing":                      {a.header(`{"alg":"EdDSA","typ":"at+jwt"}`), ReasonKey},
		"kid of another key":               {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ec"}`), ReasonKey},
		"unknown crit":                     {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","crit":["x"]}`), ReasonMalformed},
		"b64 false":                        {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","crit":["b64"],"b64":false}`), ReasonMalformed},
		"zip DEF":                          {a.header(`{"alg":"EdDSA","typ":"at+jwt","kid":"ed","zip":"DEF"}`), ReasonMalformed},
		"ID token as access token":         {a.header(`{"alg":"EdDSA","typ":"JWT","kid":"ed"}`), ReasonType},
		"refresh token as access token":    {a.header(`{"alg":"EdDSA","typ":"rt+jwt","kid":"ed"}`), ReasonType},
		"client assertion as access token": {a.header(`{"alg":"EdDSA","typ":"client-authentication+jwt","kid":"ed"}`), ReasonType},
		"DPoP proof as access token":       {a.header(`{"alg":"EdDSA","typ":"dpop+jwt","kid":"ed"}`), ReasonType},
		"no typ":                           {a.header(`{"alg":"EdDSA","kid":"ed"}`), ReasonType},
	})
}

// TestAttackSyntax: what is no JWT, or could be read as two.
func TestAttackSyntax(t *testing.T) {
	a := newAttack(t)
	a.run(t, map[string]attacked{
		"JSON serialisation":               {`{"payload":"` + a.parts[1] + `","protected":"` + a.parts[0] + `","signature":"` + a.parts[2] + `"}`, ReasonMalformed},
		"JWE":                              {"AAAA.AAAA.AAAA.AAAA.AAAA", ReasonMalformed},
		"1 MB of dots":                     {strings.Repeat(".", 1<<20), ReasonMalformed},
		"modified signature":               {a.parts[0] + "." + a.parts[1] + "." + "AAAA" + a.parts[2][4:], ReasonSignature},
		"wrong audience and bad signature": {forged(a.set("aud", "https://evil.example")), ReasonSignature},
		"sub twice":                        {a.insert(`"sub":"principal:acme/eve"`), ReasonMalformed},
		"Sub beside sub":                   {a.insert(`"Sub":"principal:acme/eve"`), ReasonMalformed},
		"NUL in key":                       {a.insert(`"sub\u0000":"principal:acme/eve"`), ReasonMalformed},
		"trailing data":                    {a.kit.raw(tokenHeader, string(a.payload)+`{}`), ReasonMalformed},
	})
}

// TestAttackTimes: no token without an end, and none that lives too long.
func TestAttackTimes(t *testing.T) {
	a := newAttack(t)
	a.run(t, map[string]attacked{
		"expired and bad signature":       {expiredAndForged(t, a.kit), ReasonSignature},
		"missing exp":                     {a.set("exp", nil), ReasonMalformed},
		"exp string":                      {a.set("exp", "1999999999"), ReasonMalformed},
		"exp float":                       {a.set("exp", json.RawMessage(`1.5e9`)), ReasonMalformed},
		"exp with a fraction":             {a.set("exp", json.RawMessage(`1795435500.5`)), ReasonMalformed},
		"exp 1e400":                       {a.set("exp", json.RawMessage(`1e400`)), ReasonMalformed},
		"exp negative":                    {a.set("exp", -1), ReasonMalformed},
		"exp null":                        {a.set("exp", json.RawMessage(`null`)), ReasonMalformed},
		"exp beyond 2^53":                 {a.set("exp", json.RawMessage(`9007199254740993`)), ReasonMalformed},
		"exp beyond the maximum lifetime": {a.set("exp", tokenTime.Add(time.Hour+time.Second).Unix()), ReasonLifetime},
		"exp past":                        {a.kit.changed(t, map[string]any{"exp": tokenTime.Add(-10 * time.Second).Unix(), "iat": tokenTime.Add(-time.Minute).Unix(), "nbf": nil}), ReasonExpired},
		"exp before iat":                  {a.kit.changed(t, map[string]any{"exp": tokenTime.Add(-time.Second).Unix()}), ReasonMalformed},
		"iat missing":                     {a.set("iat", nil), ReasonMalformed},
		"iat future beyond skew":          {a.kit.changed(t, map[string]any{"iat": tokenTime.Add(11 * time.Second).Unix()}), ReasonNotYetValid},
		"nbf future beyond skew":          {a.set("nbf", tokenTime.Add(11*time.Second).Unix()), ReasonNotYetValid},
		"nbf string":                      {a.set("nbf", "now"), ReasonMalformed},
		"Exp instead of exp":              {a.kit.changed(t, map[string]any{"exp": nil, "Exp": tokenTime.Add(time.Minute).Unix()}), ReasonMalformed},
	})
}

// TestAttackClaims: audience, issuer, actors, capabilities and confirmation.
func TestAttackClaims(t *testing.T) {
	a := newAttack(t)
	a.run(t, map[string]attacked{
		"missing aud":                           {a.set("aud", nil), ReasonMalformed},
		"aud []":                                {a.set("aud", []string{}), ReasonMalformed},
		"aud array with us":                     {a.set("aud", []string{audience}), ReasonMalformed},
		"aud array with us and another":         {a.set("aud", []string{audience, "https://evil.example"}), ReasonMalformed},
		"aud with a slash":                      {a.set("aud", audience+"/"), ReasonAudience},
		"aud in another case":                   {a.set("aud", strings.ToUpper(audience)), ReasonAudience},
		"aud of another connector":              {a.set("aud", "https://other.gateway.example"), ReasonAudience},
		"sub missing":                           {a.set("sub", nil), ReasonMalformed},
		"sub number":                            {a.set("sub", 1), ReasonMalformed},
		"sub of another tenant":                 {a.set("sub", "principal:other/alice"), ReasonMalformed},
		"jti missing":                           {a.set("jti", nil), ReasonMalformed},
		"jti with a separator":                  {a.set("jti", "a/b"), ReasonMalformed},
		"client_id missing":                     {a.set("client_id", nil), ReasonMalformed},
		"client_id is not the actor":            {a.set("client_id", "agent:acme/root"), ReasonMalformed},
		"iss missing":                           {a.set("iss", nil), ReasonIssuer},
		"iss unknown":                           {a.set("iss", "https://evil.example"), ReasonIssuer},
		"iss prefix":                            {a.set("iss", base+".evil.example"), ReasonIssuer},
		"iss with two segments":                 {a.set("iss", base+"/acme/x"), ReasonIssuer},
		"iss with a slash":                      {a.set("iss", base+"/"), ReasonIssuer},
		"tenant A's token at tenant B's issuer": {a.set("iss", base+"/other"), ReasonIssuer},
		"tenant without keys":                   {a.set("iss", base+"/third"), ReasonKey},
		"act missing":                           {a.set("act", nil), ReasonMalformed},
		"act text":                              {a.set("act", "agent:acme/leaf"), ReasonMalformed},
		"act with a cycle":                      {a.set("act", actChain("agent:acme/leaf", "agent:acme/root", "agent:acme/leaf")), ReasonMalformed},
		"act without an ancestor":               {a.set("act", actChain("agent:acme/leaf")), ReasonMalformed},
		"act with exp":                          {a.set("act", map[string]any{"sub": "agent:acme/leaf", "exp": 1}), ReasonMalformed},
		"act 51 deep":                           {a.set("act", actDeep(51)), ReasonMalformed},
		"scope beyond the capabilities":         {a.set("scope", "payments:read payments:refund payments:update"), ReasonMalformed},
		"scope missing":                         {a.set("scope", nil), ReasonMalformed},
		"no capabilities":                       {a.set("authorization_details", []any{}), ReasonMalformed},
		"capabilities missing":                  {a.set("authorization_details", nil), ReasonMalformed},
		"template call in a token":              {a.set("authorization_details", []any{map[string]any{"type": TemplateType, "template": "x"}}), ReasonMalformed},
		"unknown constraint":                    {a.set("authorization_details", json.RawMessage("["+strings.Replace(goodDetail, `"max":4200`, `"most":4200`, 1)+"]")), ReasonMalformed},
		"resource of another tenant":            {a.set("authorization_details", json.RawMessage("["+strings.Replace(goodDetail, `:acme/`, `:other/`, 1)+"]")), ReasonMalformed},
		"cnf with two methods":                  {a.set("cnf", map[string]any{"jkt": jkt, "x5t#S256": jkt}), ReasonMalformed},
		"cnf unknown method":                    {a.set("cnf", map[string]any{"kid": "x"}), ReasonMalformed},
		"cnf empty":                             {a.set("cnf", map[string]any{}), ReasonMalformed},
		"cnf empty jkt":                         {a.set("cnf", map[string]any{"jkt": ""}), ReasonMalformed},
		"cnf short jkt":                         {a.set("cnf", map[string]any{"jkt": "AAAA"}), ReasonMalformed},
		"cnf null":                              {a.set("cnf", json.RawMessage(`null`)), ReasonMalformed},
	})
}

// TestAttackContext: the claim of our own.
func TestAttackContext(t *testing.T) {
	a := newAttack(t)
	a.run(t, map[string]attacked{
		"context missing":                    {a.set(ContextClaim, nil), ReasonMalformed},
		"context text":                       {a.set(ContextClaim, "x"), ReasonMalformed},
		"context unknown member":             {a.inContext("more", 1), ReasonMalformed},
		"context tenant":                     {a.inContext("tenant", "other"), ReasonMalformed},
		"context lineage digest":             {a.inContext("lineage_digest", "x"), ReasonMalformed},
		"context attenuated outsider":        {a.inContext("attenuated", []string{"agent:acme/other"}), ReasonMalformed},
		"context attenuated text":            {a.inContext("attenuated", "agent:acme/leaf"), ReasonMalformed},
		"context chain with a separator":     {a.inContext("chain", []string{"a/b"}), ReasonMalformed},
		"context chain of 34":                {a.inContext("chain", strings.Split(strings.Repeat("a ", 34), " ")[:34]), ReasonMalformed},
		"context epoch negative":             {a.inContext("epoch", -1), ReasonMalformed},
		"context epoch text":                 {a.inContext("epoch", "7"), ReasonMalformed},
		"context zookie missing":             {a.inContext("zookie", nil), ReasonMalformed},
		"context incarnation missing":        {a.inContext("incarnation", nil), ReasonMalformed},
		"context agent type of another kind": {a.inContext("agent_type", "agent:acme/leaf"), ReasonMalformed},
		"context own_authority text":         {a.inContext("own_authority", "true"), ReasonMalformed},
		"context principal contradicts sub":  {a.inContext("principal", "principal:acme/eve"), ReasonMalformed},
	})
}
