//! The plots, each as one or two SVG images that stand in the page.

pub mod bars;
pub mod canvas;
pub mod columns;
pub mod map;
pub mod stack;
pub mod timeline;

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

/// How many characters of text fit into a width, small letters taken for the mean.
fn characters(width: i32) -> usize {
    (f64::from(width.max(0)) / (canvas::TEXT * 0.56)) as usize
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
