package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// The size of one drawing, in CSS pixels, and the room around its plot.
const (
	width, height                            = 560.0, 300.0
	marginLeft, marginRight, marginTop, foot = 64.0, 16.0, 14.0, 44.0
)

// series is one line of points, in the order of x.
type series struct {
	name   string
	points [][2]float64
}

// chart is a drawing with axes.
type chart struct {
	x, y       string // what the axes are
	logX, logY bool
	fromZero   bool // the y axis begins at 0
	xTicks     []tick
	lines      []series
	marks      []float64 // horizontal lines at these heights
}

type tick struct {
	at    float64
	label string
}

// colours are told apart by people who see no red or no green too (Okabe and Ito).
var colours = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}

func (c chart) draw() template.HTML {
	minX, maxX, minY, maxY := c.bounds()
	sx := scale(minX, maxX, marginLeft, width-marginRight, c.logX)
	sy := scale(minY, maxY, height-foot, marginTop, c.logY)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s over %s">`, width, height, esc(c.y), esc(c.x))
	for _, t := range ticks(minY, maxY, c.logY) {
		y := sy(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%g" y1="%.1f" x2="%g" y2="%.1f"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			marginLeft, y, width-marginRight, y, marginLeft-8, y+4, esc(t.label))
	}
	xTicks := c.xTicks
	if xTicks == nil {
		xTicks = ticks(minX, maxX, c.logX)
	}
	for _, t := range xTicks {
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`, sx(t.at), height-foot+18, esc(t.label))
	}
	fmt.Fprintf(&b, `<text class="axis" x="%g" y="%g" text-anchor="middle">%s</text>`, (marginLeft+width-marginRight)/2, height-6, esc(c.x))
	fmt.Fprintf(&b, `<text class="axis" transform="translate(14 %g) rotate(-90)" text-anchor="middle">%s</text>`, (marginTop+height-foot)/2, esc(c.y))
	for _, m := range c.marks {
		fmt.Fprintf(&b, `<line class="mark" x1="%g" y1="%.1f" x2="%g" y2="%.1f"/>`, marginLeft, sy(m), width-marginRight, sy(m))
	}
	for i, l := range c.lines {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for j, p := range l.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], sx(p[0]), sy(p[1]))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, path.String(), colour)
		const few = 24
		for _, p := range l.points {
			if len(l.points) <= few {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.2" fill="%s"><title>%s: %s, %s</title></circle>`,
					sx(p[0]), sy(p[1]), colour, esc(l.name), number(p[0]), number(p[1]))
			}
		}
	}
	b.WriteString(`</svg>`)
	b.WriteString(legend(c.lines))
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped
}

func legend(lines []series) string {
	if len(lines) < 2 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for i, l := range lines {
		fmt.Fprintf(&b, `<span><i style="background:%s"></i>%s</span>`, colours[i%len(colours)], esc(l.name))
	}
	return b.String() + `</p>`
}

func (c chart) bounds() (minX, maxX, minY, maxY float64) {
	minX, maxX, minY, maxY = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for _, p := range l.points {
			minX, maxX, minY, maxY = min(minX, p[0]), max(maxX, p[0]), min(minY, p[1]), max(maxY, p[1])
		}
	}
	for _, m := range c.marks {
		minY, maxY = min(minY, m), max(maxY, m)
	}
	if math.IsInf(minX, 1) {
		return 0, 1, 0, 1
	}
	if c.fromZero && !c.logY {
		minY = 0
	}
	if c.logY {
		minY = math.Pow(10, math.Floor(math.Log10(max(minY, 1e-6))))
		maxY = math.Pow(10, math.Ceil(math.Log10(max(maxY, minY*10))))
	} else {
		maxY += (maxY - minY) * 0.08
	}
	if maxX == minX {
		minX, maxX = minX-1, maxX+1
	}
	if maxY == minY {
		maxY = minY + 1
	}
	return minX, maxX, minY, maxY
}

func scale(low, high, from, to float64, logarithmic bool) func(float64) float64 {
	return func(v float64) float64 {
		if logarithmic {
			return from + (math.Log10(max(v, 1e-9))-math.Log10(max(low, 1e-9)))/(math.Log10(high)-math.Log10(max(low, 1e-9)))*(to-from)
		}
		return from + (v-low)/(high-low)*(to-from)
	}
}

// ticks are round numbers between low and high, about five of them.
func ticks(low, high float64, logarithmic bool) []tick {
	var out []tick
	if logarithmic {
		for e := math.Floor(math.Log10(max(low, 1e-9))); e <= math.Ceil(math.Log10(high)); e++ {
			if v := math.Pow(10, e); v >= low*0.999 && v <= high*1.001 {
				out = append(out, tick{v, number(v)})
			}
		}
		return out
	}
	const about = 5
	step := math.Pow(10, math.Floor(math.Log10((high-low)/about)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*m) <= about {
			step *= m
			break
		}
	}
	for v := math.Ceil(low/step) * step; v <= high+step/1000; v += step {
		out = append(out, tick{v, number(v)})
	}
	return out
}

// number is short: three digits that matter.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return trim(fmt.Sprintf("%.2f", v/1e6)) + "M"
	case a >= 1e4:
		return trim(fmt.Sprintf("%.1f", v/1e3)) + "k"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 1:
		return trim(fmt.Sprintf("%.1f", v))
	case a == 0:
		return "0"
	default:
		return trim(fmt.Sprintf("%.3f", v))
	}
}

func trim(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

func esc(s string) string { return html.EscapeString(s) }

// bar is one row of a bar chart.
type bar struct {
	name      string
	value     float64
	low, high float64 // the extremes; equal: none are drawn
	label     string
	ours      bool
	aim       float64 // a mark; 0: none
	missed    bool    // the aim is missed
}

// bars draws rows from zero, with whiskers from the least to the most.
func bars(rows []bar) template.HTML {
	const row, nameWidth, labelWidth, pad = 30.0, 165.0, 145.0, 6.0
	most := 0.0
	for _, r := range rows {
		most = max(most, r.value, r.high, r.aim)
	}
	if most == 0 {
		most = 1
	}
	const full = 655.0
	at := func(v float64) float64 { return nameWidth + v/most*(full-nameWidth-labelWidth) }
	h := float64(len(rows))*row + pad
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bars" viewBox="0 0 %g %g" role="img">`, full, h)
	for i, r := range rows {
		y := float64(i)*row + pad
		class := "peer"
		if r.ours {
			class = "ours"
		}
		fmt.Fprintf(&b, `<text class="name" x="%g" y="%.1f" text-anchor="end">%s</text>`, nameWidth-10, y+15, esc(r.name))
		fmt.Fprintf(&b, `<rect class="%s" x="%g" y="%.1f" width="%.1f" height="20" rx="2"/>`, class, nameWidth, y, max(at(r.value)-nameWidth, 1))
		if r.high > r.low {
			fmt.Fprintf(&b, `<path class="whisker" d="M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8"/>`, at(r.low), y+10, at(r.high), at(r.low), y+6, at(r.high), y+6)
		}
		if r.aim > 0 {
			fmt.Fprintf(&b, `<path class="aim" d="M%.1f %.1fv26"><title>aim %s</title></path>`, at(r.aim), y-3, number(r.aim))
		}
		label := "label"
		if r.missed {
			label = "label missed"
		}
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%.1f">%s</text>`, label, max(at(r.value), at(r.high), at(r.aim))+8, y+15, esc(r.label))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped
}
