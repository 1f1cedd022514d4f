//! The plots, each as one or two SVG images that stand in the page.

pub mod bars;
pub mod canvas;
pub mod columns;
pub mod map;
pub mod stack;
pub mod timeline;

use canvas::Picture;

/// Width of a plot in half of a wide page.
const HALF: u32 = 540;
/// Width of a plot in a phone's page.
const NARROW: u32 = 330;
/// Width of a plot as wide as a wide page.
const FULL: u32 = 1120;

/// The plot drawn for two widths. Text would shrink with an image; so each kind of page shows the one drawn for it.
fn for_widths(wide: u32, mut draw: impl FnMut(u32, &str) -> Picture) -> String {
    format!(
        "<div class=\"plot\"><div class=\"wide\">{}</div><div class=\"narrow\">{}</div></div>\n",
        draw(wide, "wide").svg(),
        draw(NARROW, "narrow").svg()
    )
}

/// How many characters of text fit into a width, small letters taken for the mean.
fn characters(width: i32) -> usize {
    (f64::from(width.max(0)) / (canvas::TEXT * 0.56)) as usize
}
