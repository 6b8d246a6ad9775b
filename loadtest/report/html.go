package report

import "io"

// HTML draws results into one file.
func HTML(w io.Writer, results ...any) error { return nil }
