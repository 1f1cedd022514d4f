//! The plots, each as one or two SVG images that stand in the page.

pub mod bars;
pub mod canvas;
pub mod columns;
pub mod density;
pub mod map;
mod projection;
pub mod stack;
pub mod timeline;

use crate::escape;
use canvas::Picture;

/// The kinds of page that a plot is drawn for: the class that shows it there, and its width.
type Widths = &'static [(&'static str, u32)];
/// A plot in half of a wide page.
const HALF: Widths = &[("narrow", 330), ("wide", 540)];
/// A plot as wide as the page.
const FULL: Widths = &[("narrow", 330), ("middle", 700), ("full", 1120)];

/// The plot drawn for every width. Text would shrink with an image; so each kind of page shows the one drawn for it.
fn for_widths(widths: Widths, mut draw: impl FnMut(u32, &str) -> Picture) -> String {
    let drawn: Vec<String> = widths
        .iter()
        .map(|(kind, width)| format!("<div class=\"{kind}\">{}</div>", draw(*width, kind).svg()))
        .collect();
    format!("<div class=\"plot\">{}</div>\n", drawn.concat())
}

/// A text from outside, cut to what fits into a width. Fonts differ, so letters count as rather wide.
fn fit(raw: &str, width: i32) -> String {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | '-' | '(' | ')' | '\'' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
        c if c.is_ascii_uppercase() => 0.72,
        c if c.is_ascii() || c < '\u{1100}' => 0.63,
        _ => 1.05,
    };
    let text = escape::plain(raw, escape::NAME);
    let mut left = f64::from(width) / canvas::TEXT;
    let fitting = text
        .chars()
        .take_while(|c| {
            left -= em(*c);
            left >= 0.0
        })
        .count();
    escape::plain(&text, fitting)
}

#[cfg(test)]
mod tests {
    use super::canvas::Ink;

    /// Position and size of the rectangles of an ink, in the first image.
    fn rectangles(plot: &str, ink: Ink) -> Vec<[i32; 4]> {
        let svg = &plot[plot.find("<svg").expect("an image")..=plot.find("</svg>").expect("its end") + 5];
        let tree = roxmltree::Document::parse(svg).expect("well-formed");
        let class = format!("f-{}", ink.name());
        let number =
            |node: &roxmltree::Node, name| node.attribute(name).and_then(|n| n.parse().ok()).expect("a number");
        tree.descendants()
            .filter(|node| node.has_tag_name("rect") && node.attribute("class") == Some(&class))
            .map(|node| ["x", "y", "width", "height"].map(|name| number(&node, name)))
            .collect()
    }

    #[test]
    fn texts_are_cut_to_their_width() {
        let small = super::fit(&"e".repeat(60), 200);
        let capital = super::fit(&"E".repeat(60), 200);
        assert!(capital.len() < small.len() && capital.ends_with('…') && small.ends_with('…'), "{small} {capital}");
        assert_eq!(super::fit("short", 200), "short");
        assert_eq!(super::fit("short", 0), "");
        assert_eq!(super::fit("<b>\u{202e}x", 200), "<b>x");
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |value| super::bars::Bar { label: "x".into(), value };
        let plot = super::bars::bars("b", "", &[bar(1_000), bar(500), bar(1), bar(0)]);
        let widths: Vec<i32> = rectangles(&plot, Ink::Accent).iter().map(|[_, _, width, _]| *width).collect();
        assert_eq!(widths, [330, 165, 1], "nothing for nothing, and a pixel for little");
    }

    #[test]
    fn stacks_fill_the_width_in_proportion() {
        let part = |value, ink| super::stack::Part { name: "x", value, ink };
        let parts = vec![part(10, Ink::Found), part(0, Ink::Failed), part(20, Ink::Pending)];
        let plot =
            super::stack::stacks("s", "", &[super::stack::Stack { label: "x".into(), note: String::new(), parts }]);
        let place = |ink| rectangles(&plot, ink).iter().map(|[x, _, width, _]| (*x, *width)).collect::<Vec<_>>();
        assert_eq!(place(Ink::Found), [(0, 109)], "and a pixel of gap");
        assert_eq!(place(Ink::Failed), []);
        assert_eq!(place(Ink::Pending), [(110, 220)]);
    }

    #[test]
    fn columns_over_time_are_as_high_as_their_values() {
        let line = crate::Timeline { start: 0, step: 86_400, new: vec![100, 0, 50], ..crate::Timeline::default() };
        let plot = super::timeline::timeline("t", "", &line, &line.new, Ink::Accent);
        let columns = rectangles(&plot, Ink::Accent);
        assert_eq!(columns.len(), 2);
        let (high, low) = (columns[0][3], columns[1][3]);
        assert!((high - 2 * low).abs() <= 2 && high > 100, "{columns:?}");
        assert!(columns[0][0] + columns[0][2] < columns[1][0], "{columns:?}");
    }

    #[test]
    fn histograms_are_as_high_as_their_values() {
        let plot = super::columns::columns("c", "", &["a", "b", "c"], &[("x".into(), vec![10, 0, 5])]);
        let heights: Vec<i32> = rectangles(&plot, Ink::Accent).iter().map(|[_, _, _, height]| *height).collect();
        assert_eq!(heights, [48, 24]);
    }
}
