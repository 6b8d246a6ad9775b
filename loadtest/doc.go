// Package loadtest is the room of load: what is put on AgentID, how it is measured and how
// the figures are shown.
//
// openloop sends and measures, scenario reads what to send, local brings up a deployment
// to send it to, drive carries a scenario out, peers and compare measure AgentID beside
// what people assemble otherwise, report draws. No package of the product imports any of
// them but the command line.
package loadtest
