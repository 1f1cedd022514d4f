//! A series over time: a column a bucket, with axes.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{self, Ink, Picture};
use super::{FULL, for_widths};
use crate::Timeline;
use crate::figures::{short, thousands, time};

const HEIGHT: u32 = 190;
const LEFT: i32 = 44;
const FOOT: i32 = 26;
const HEAD: i32 = 10;
/// Width that a date takes.
const LABEL: i32 = 92;

/// The columns of `values`, which stand for the buckets of `timeline`.
pub fn timeline(id: &str, title: &str, timeline: &Timeline, values: &[u64], ink: Ink) -> String {
    let most = values.iter().copied().max().unwrap_or(0);
    let peak = values.iter().position(|value| *value == most).unwrap_or(0) as i64;
    let about = format!(
        "{} buckets from {}; {} in all; most in one: {}, at {}",
        values.len(),
        stamp(timeline, timeline.start),
        thousands(values.iter().sum()),
        thousands(most),
        stamp(timeline, timeline.start + peak * timeline.step)
    );
    for_widths(FULL, |width, kind| {
        Picture::draw(&format!("{id}-{kind}"), (width, HEIGHT), title, &about, |area| {
            let (step, top) = ceiling(most);
            let count = values.len().max(1);
            let mut chart = ChartBuilder::on(area)
                .margin_top(HEAD)
                .x_label_area_size(FOOT)
                .y_label_area_size(LEFT)
                .build_cartesian_2d(0f64..count as f64, 0f64..top)?;
            for level in 0..=(top / step).round() as i32 {
                let value = f64::from(level) * step;
                let guide = vec![(0.0, value), (count as f64, value)];
                chart.draw_series([PathElement::new(guide, Ink::Grid.colour().stroke_width(1))])?;
                let (_, y) = chart.backend_coord(&(0.0, value));
                canvas::text(area, &short(value), (LEFT - 8, y), HPos::Right, Ink::Muted)?;
            }
            // Wide enough apart to tell columns, never so wide that one looks like a wall.
            let room = f64::from(width as i32 - LEFT) / count as f64;
            let side = ((room - (room * 0.8).min(36.0)) / 2.0 / room).max(0.0);
            chart.draw_series(values.iter().enumerate().filter(|(_, value)| **value > 0).map(|(i, value)| {
                let (from, to) = (i as f64 + side, (i + 1) as f64 - side);
                Rectangle::new([(from, 0.0), (to, *value as f64)], ink.colour().filled())
            }))?;
            // A date stands under its own bucket, and has room.
            let every = (f64::from(LABEL) / room).ceil().max(1.0) as usize;
            for i in (0..count).step_by(every) {
                let (x, y) = chart.backend_coord(&(i as f64 + 0.5, 0.0));
                let x = x.max(LABEL / 2);
                if x + LABEL / 2 > width as i32 {
                    break;
                }
                let label = stamp(timeline, timeline.start + i as i64 * timeline.step);
                canvas::text(area, &label, (x, y + 15), HPos::Center, Ink::Muted)?;
            }
            Ok(())
        })
    })
}

/// The start of a bucket, as precisely as buckets are.
fn stamp(timeline: &Timeline, unix: i64) -> String {
    time(unix, if timeline.step < 86_400 { "%d %b %H:%M" } else { "%d %b %Y" })
}

/// A step of the scale and its end: few round numbers that reach above the largest value.
fn ceiling(most: u64) -> (f64, f64) {
    let rough = most.max(1) as f64 / 3.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
    let step = step.max(1.0);
    (step, step * (most.max(1) as f64 / step).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_reach_the_top() {
        assert_eq!(ceiling(0), (1.0, 1.0));
        assert_eq!(ceiling(1), (1.0, 1.0));
        assert_eq!(ceiling(7), (5.0, 10.0));
        assert_eq!(ceiling(100), (50.0, 100.0));
        assert_eq!(ceiling(1_234_567), (500_000.0, 1_500_000.0));
    }
}
