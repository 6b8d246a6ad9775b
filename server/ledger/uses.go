package ledger

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

// counted names one row of uses: a token and the digest of a capability of it.
type counted struct {
	Token      string `json:"token"`
	Capability string `json:"capability"`
}

// uses are the counts that an effect took one from, as a column of its row.
type uses []counted

func usesOf(list []wire.Use) uses {
	var out uses
	for _, u := range list {
		out = append(out, counted{Token: u.Token.String(), Capability: u.Capability})
	}
	return out
}

// Value implements driver.Valuer: "" for none.
func (u uses) Value() (driver.Value, error) {
	if len(u) == 0 {
		return "", nil
	}
	text, err := json.Marshal([]counted(u))
	return string(text), err
}

// Scan implements sql.Scanner.
func (u *uses) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("uses are of type %T", src)
	}
	if *u = nil; text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), (*[]counted)(u))
}

// checkUses holds every count to the agent's tenant, and refuses one that is named twice:
// it would be taken twice for one effect.
func checkUses(tenant string, list []wire.Use) error {
	if len(list) > wire.MaxUses {
		return agentid.Invalidf("uses", "are more than %d", wire.MaxUses)
	}
	seen := make(map[counted]bool, len(list))
	for _, u := range list {
		if err := checkRef("uses", u.Token, agentid.TypeToken); err != nil {
			return err
		}
		key := counted{u.Token.String(), u.Capability}
		switch {
		case u.Token.Tenant() != tenant:
			return agentid.Invalidf("uses", "belong to another tenant")
		case u.Capability == "" || len(u.Capability) > maxDigest || u.Max <= 0:
			return agentid.Invalidf("uses", "want a capability's digest and a maximum of 1 or more")
		case seen[key]:
			return agentid.Invalidf("uses", "name a capability twice")
		}
		seen[key] = true
	}
	return nil
}

// consumeUse takes one use of a count. Its error takes back, with the transaction, those
// that were taken before it. own: it is the count of the presented token's capability,
// not of one that this was made from.
func consumeUse(ctx context.Context, tx *sqlitedb.Tx, u wire.Use, own bool, now int64) error {
	res, err := tx.Exec(ctx, `INSERT INTO uses (token, capability, used, since) VALUES (?,?,1,?)
		ON CONFLICT (token, capability) DO UPDATE SET used = used + 1 WHERE used < ?`,
		u.Token.String(), u.Capability, now, u.Max)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil || n > 0 {
		return err
	}
	whose := "the capability"
	if !own {
		whose = "the capability that this was made from"
	}
	return agentid.Errorf(agentid.KindForbidden, "uses_exhausted", "%s may be used %d times", whose, u.Max).WithField("uses")
}

// giveBack returns one use to every count that was taken from.
func giveBack(ctx context.Context, tx *sqlitedb.Tx, taken uses) error {
	for _, c := range taken {
		if _, err := tx.Exec(ctx, `UPDATE uses SET used = used - 1 WHERE token = ? AND capability = ? AND used > 0`, c.Token, c.Capability); err != nil {
			return err
		}
	}
	return nil
}
