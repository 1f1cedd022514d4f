//! Stacked bars: how a whole is made up, a bar a row.

use plotters::style::text_anchor::HPos;

use super::canvas::{self, Ink, Picture, rectangle};
use super::{HALF, fit, for_widths};
use crate::escape;
use crate::figures::{percent, thousands};

/// A part of a bar.
pub struct Part {
    /// Its label.
    pub name: &'static str,
    /// How much of the whole.
    pub value: u64,
    /// Its colour.
    pub ink: Ink,
}

/// One bar.
pub struct Stack {
    /// Its label.
    pub label: String,
    /// The text at its right.
    pub note: String,
    /// From left to right.
    pub parts: Vec<Part>,
}

const ROW: i32 = 50;
const THICK: i32 = 18;

impl Stack {
    fn whole(&self) -> u64 {
        self.parts.iter().map(|part| part.value).sum()
    }

    fn about(&self) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .filter(|part| part.value > 0)
            .map(|part| format!("{} {} ({})", part.name, thousands(part.value), percent(part.value, self.whole())))
            .collect();
        format!("{}: {}", self.label, if parts.is_empty() { "nothing".into() } else { parts.join(", ") })
    }
}

/// Bars that are all as long as the plot is wide, with a key of the colours that occur.
pub fn stacks(id: &str, title: &str, stacks: &[Stack]) -> String {
    let about: Vec<String> = stacks.iter().map(Stack::about).collect();
    let plot = for_widths(HALF, |width, kind| {
        let size = (width, (stacks.len() as i32 * ROW).max(ROW) as u32);
        Picture::draw(&format!("{id}-{kind}"), size, title, &about.join("; "), |area| {
            for (row, stack) in stacks.iter().enumerate() {
                let (y, width) = (row as i32 * ROW, width as i32);
                canvas::text(area, &fit(&stack.label, width / 2), (0, y + 10), HPos::Left, Ink::Text)?;
                canvas::text(area, &fit(&stack.note, width / 2), (width, y + 10), HPos::Right, Ink::Muted)?;
                rectangle(area, (0, y + 20), (width, THICK), Ink::Track)?;
                let (whole, mut before) = (stack.whole().max(1) as f64, 0);
                for part in stack.parts.iter().filter(|part| part.value > 0) {
                    let at = |value: u64| (f64::from(width) * value as f64 / whole).round() as i32;
                    let (from, to) = (at(before), at(before + part.value));
                    // A pixel of the card's own colour keeps neighbours apart.
                    rectangle(area, (from, y + 20), (to - from - i32::from(to < width), THICK), part.ink)?;
                    before += part.value;
                }
            }
            Ok(())
        })
    });
    format!("{plot}{}", key(stacks))
}

fn key(stacks: &[Stack]) -> String {
    let mut seen: Vec<(&str, Ink)> = Vec::new();
    for part in stacks.iter().flat_map(|stack| &stack.parts).filter(|part| part.value > 0) {
        if !seen.contains(&(part.name, part.ink)) {
            seen.push((part.name, part.ink));
        }
    }
    let entries: Vec<String> = seen
        .iter()
        .map(|(name, ink)| format!("<li><span class=\"b-{}\"></span>{}</li>", ink.name(), escape::html(name, 40)))
        .collect();
    if entries.is_empty() { String::new() } else { format!("<ul class=\"key\">{}</ul>\n", entries.join("")) }
}
