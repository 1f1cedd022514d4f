//! Histograms of the same classes under each other, one a row.

use plotters::style::text_anchor::HPos;

use super::canvas::{self, Ink, Picture, line, rectangle};
use super::{HALF, for_widths};
use crate::escape;
use crate::figures::{short, thousands};

const HEAD: i32 = 22;
const ROOM: i32 = 64;
const ROW: i32 = HEAD + ROOM + 30;
const FOOT: i32 = 24;

/// A row for every `(name, values)`, a column for every class.
pub fn columns(id: &str, title: &str, classes: &[&str], rows: &[(String, Vec<u64>)]) -> String {
    let about: Vec<String> = rows.iter().map(|(name, values)| describe(name, classes, values)).collect();
    for_widths(HALF, |width, kind| {
        let size = (width, (rows.len() as i32 * ROW - 16 + FOOT) as u32);
        Picture::draw(&format!("{id}-{kind}"), size, title, &about.join("; "), |area| {
            let slot = width as i32 / classes.len().max(1) as i32;
            for (row, (name, values)) in rows.iter().enumerate() {
                let top = row as i32 * ROW;
                let foot = top + HEAD + ROOM + 10;
                let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
                canvas::text(area, &escape::plain(name, 40), (0, top + 9), HPos::Left, Ink::Text)?;
                for (i, value) in values.iter().enumerate() {
                    let left = i as i32 * slot;
                    let high = ((f64::from(ROOM - 16)) * *value as f64 / most) as i32;
                    if *value > 0 {
                        rectangle(area, (left + 3, foot - high.max(1)), (slot - 6, high), Ink::Accent)?;
                    }
                    let (label, ink) =
                        if *value > 0 { (short(*value as f64), Ink::Text) } else { ("0".into(), Ink::Muted) };
                    canvas::text(area, &label, (left + slot / 2, foot - high - 9), HPos::Center, ink)?;
                }
                line(area, (0, foot), (width as i32, foot), Ink::Grid)?;
            }
            for (i, class) in classes.iter().enumerate() {
                let at = (i as i32 * slot + slot / 2, rows.len() as i32 * ROW - 6);
                canvas::text(area, class, at, HPos::Center, Ink::Muted)?;
            }
            Ok(())
        })
    })
}

fn describe(name: &str, classes: &[&str], values: &[u64]) -> String {
    let values: Vec<String> =
        classes.iter().zip(values).map(|(class, value)| format!("{class} {}", thousands(*value))).collect();
    format!("{name}: {}", values.join(", "))
}
