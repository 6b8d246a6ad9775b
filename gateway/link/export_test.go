package link

import "time"

// NeverSlow lets calls be under way for as long as a test holds them, without others being
// sent beside them. It comes before the first.
func (l *Link) NeverSlow() { l.effects.slow = time.Hour }

// WaitQueued waits until n effects wait to be sent.
func (l *Link) WaitQueued(n int) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for len(l.effects.queue) < n {
		<-ticker.C
	}
}
