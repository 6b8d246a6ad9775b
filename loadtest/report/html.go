package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// view is what the page shows.
type view struct {
	Title    string
	Sections []section
}

// section is one result.
type section struct {
	ID, Title, About string
	Facts            []string // where, when, how
	Faults           []string
	Lead             []table // before the drawings
	Figures          []figure
	Tables           []table
}

// figure is a drawing with what it shows.
type figure struct {
	Title, Note string
	Drawing     template.HTML
}

type table struct {
	Title string
	Head  []string
	Rows  [][]cell
}

type cell struct{ Text, Class string }

// HTML draws results into one file that needs nothing beside it.
func HTML(w io.Writer, results ...any) error {
	v := view{Title: "AgentID under load"}
	for i, r := range results {
		var s section
		switch r := r.(type) {
		case *drive.Result:
			s = runSection(r)
		case *compare.Result:
			s = compareSection(r)
		default:
			return errKind
		}
		s.ID = fmt.Sprintf("s%d", i)
		v.Sections = append(v.Sections, s)
	}
	return page.Execute(w, v) //nolint:wrapcheck // the caller's writer
}

func facts(m drive.Machine, version string, at time.Time) []string {
	return []string{
		fmt.Sprintf("%d × %s, %s, %s", m.CPUs, m.Model, m.OS, m.Go),
		"AgentID " + version,
		at.UTC().Format("2006-01-02 15:04 MST"),
	}
}

func text(format string, args ...any) cell { return cell{Text: fmt.Sprintf(format, args...)} }
