package observe

import (
	"net/http"
	"net/http/pprof"
)

// ProfileHandler serves pprof's profiles of where the program spends its time: cpu,
// goroutines, allocations, locks. They hold names of functions and counts, never the
// values that those work on; what could show values (the command line, stacks with
// arguments, the memory itself) is not served.
func ProfileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	for _, name := range []string{"goroutine", "allocs", "heap", "mutex", "block", "threadcreate"} {
		profile := pprof.Handler(name)
		mux.HandleFunc("GET /debug/pprof/"+name, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("debug") { // as text, with the arguments of each call
				http.NotFound(w, r)
				return
			}
			profile.ServeHTTP(w, r)
		})
	}
	return mux
}
