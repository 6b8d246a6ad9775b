// Command agentid is AgentID: the server, the agent's proxy and the administrator's
// tools, one file per subcommand. All wiring of the rooms is here and in its package
// process.
//
// Exit codes: 0 done, 1 refused or failed, 2 used wrongly.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
