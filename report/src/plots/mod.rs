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
