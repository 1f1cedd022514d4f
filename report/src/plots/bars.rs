//! Horizontal bars, each under its own label, so that long names need no margin.

use plotters::style::text_anchor::HPos;

use super::canvas::{self, Ink, Picture, rectangle};
use super::{HALF, fit, for_widths};
use crate::escape;
use crate::figures::thousands;

/// One bar.
pub struct Bar {
    /// Its label; a text from outside.
    pub label: String,
    /// How long it is.
    pub value: u64,
}

const ROW: i32 = 34;
const THICK: i32 = 8;

/// Bars against the longest of them, for `id`, with a title.
pub fn bars(id: &str, title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(1);
    let about: Vec<String> =
        bars.iter().map(|bar| format!("{}: {}", escape::plain(&bar.label, 60), thousands(bar.value))).collect();
    for_widths(HALF, |width, kind| {
        let height = (bars.len() as i32 * ROW).max(ROW) as u32;
        Picture::draw(&format!("{id}-{kind}"), (width, height), title, &about.join("; "), |area| {
            let width = width as i32;
            for (row, bar) in bars.iter().enumerate() {
                let y = row as i32 * ROW;
                let figure = thousands(bar.value);
                let room = width - 12 - figure.len() as i32 * 9;
                canvas::text(area, &fit(&bar.label, room), (0, y + 10), HPos::Left, Ink::Text)?;
                canvas::text(area, &figure, (width, y + 10), HPos::Right, Ink::Muted)?;
                rectangle(area, (0, y + 20), (width, THICK), Ink::Track)?;
                let long = (width as f64 * bar.value as f64 / most as f64) as i32;
                if bar.value > 0 {
                    rectangle(area, (0, y + 20), (long, THICK), Ink::Accent)?;
                }
            }
            Ok(())
        })
    })
}
