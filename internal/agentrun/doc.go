// Package agentrun ties an agent to a process: it gives a command proxies in its
// environment, passes signals on, and retires the agent when the command ends.
//
// It owns the command's life and environment, and one loopback listener per connector.
// Key and tokens stay in this process: the command gets URLs. Who spawns the agent, and
// with which credential, is its caller's.
//
// The end of the command is what counts, however it comes. When this process is killed
// itself (SIGKILL), nobody retires the agent; its key is gone with the process, and its
// lifetime, which the caller chooses, ends it.
package agentrun
