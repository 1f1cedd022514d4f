//! A map of the world with a dot for every neighbourhood, its area by the number of addresses; with very many of them,
//! the fields of [`density`].
//!
//! `land.txt` is made from Natural Earth's land of the scale 1:50 million, which is in the public domain (taken from the
//! package world-atlas 2.0.2, whose own licence is ISC): without Antarctica and islands below a quarter of a square
//! degree, lines simplified to 0.18 degrees. A line is a ring: longitude and latitude in tenths of a degree, the first
//! point absolute, each further one as the step from the one before; a line that begins with `~` is water in the land.

use plotters::prelude::*;

use super::canvas::{Area, Fault, Ink, Picture};
use super::density;
use super::projection::{HEIGHT, WIDTH, project};
use crate::Place;
use crate::figures::thousands;

const LAND: &str = include_str!("land.txt");
/// Radius of the largest dot.
const LARGEST: f64 = 60.0;

/// The map. Several dots that touch are darker where they do.
pub fn map(id: &str, title: &str, places: &[Place]) -> String {
    let mut sorted: Vec<&Place> = places.iter().filter(|p| p.latitude.is_finite() && p.longitude.is_finite()).collect();
    sorted.sort_by_key(|place| std::cmp::Reverse(place.addresses));
    let about = format!(
        "{} places with {} addresses",
        thousands(sorted.len() as u64),
        thousands(sorted.iter().map(|place| place.addresses).sum())
    );
    let picture = Picture::draw(id, (WIDTH, HEIGHT), title, &about, |area| {
        land(area)?;
        if density::is_dense(places) {
            return density::draw(area, places);
        }
        let most = sorted.first().map_or(1, |place| place.addresses).max(1) as f64;
        // Few dots are seen well, many would run together.
        let smallest = (800.0 / sorted.len().max(1) as f64).clamp(4.0, 9.0);
        // Large ones first, so that small ones are on top.
        for place in &sorted {
            let radius = (LARGEST * (place.addresses as f64 / most).sqrt()).max(smallest);
            let at = project(place.longitude.clamp(-180.0, 180.0), place.latitude.clamp(-90.0, 90.0));
            area.draw(&Circle::new(at, radius as i32, Ink::Accent.colour().mix(0.5).filled()))?;
        }
        Ok(())
    });
    format!("<div class=\"plot map\">{}</div>\n", picture.svg())
}

fn land(area: &Area) -> Result<(), Fault> {
    for ring in LAND.lines() {
        let (ring, ink) = ring.strip_prefix("~ ").map_or((ring, Ink::Land), |hole| (hole, Ink::Sea));
        let (mut at, mut points) = ((0, 0), Vec::new());
        let mut numbers = ring.split(' ').map_while(|number| number.parse::<i32>().ok());
        while let (Some(x), Some(y)) = (numbers.next(), numbers.next()) {
            at = (at.0 + x, at.1 + y);
            points.push(project(f64::from(at.0) / 10.0, f64::from(at.1) / 10.0));
        }
        points.dedup();
        area.draw(&Polygon::new(points, ink.colour().filled()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a point lies in the land: a ray from it crosses the shores an odd number of times.
    fn is_land(longitude: f64, latitude: f64) -> bool {
        let mut inside = false;
        for ring in LAND.lines() {
            let numbers: Vec<i32> =
                ring.trim_start_matches("~ ").split(' ').map(|n| n.parse().expect("a number")).collect();
            let mut at = (0, 0);
            let points: Vec<(f64, f64)> = numbers
                .chunks(2)
                .map(|step| {
                    at = (at.0 + step[0], at.1 + step[1]);
                    (f64::from(at.0) / 10.0, f64::from(at.1) / 10.0)
                })
                .collect();
            for (i, a) in points.iter().enumerate() {
                let b = points[(i + 1) % points.len()];
                let crosses = (a.1 > latitude) != (b.1 > latitude);
                if crosses && longitude < (b.0 - a.0) * (latitude - a.1) / (b.1 - a.1) + a.0 {
                    inside = !inside;
                }
            }
        }
        inside
    }

    #[test]
    fn the_land_is_where_it_is() {
        let wet = [(-30.0, 40.0), (-150.0, 10.0), (80.0, -30.0), (51.0, 42.0), (180.0, 0.0), (5.0, 39.0)];
        let dry =
            [(13.4, 52.5), (-98.0, 39.0), (-60.0, -10.0), (25.0, 0.0), (134.0, -25.0), (104.0, 60.0), (178.0, 67.5)];
        assert_eq!(wet.map(|(x, y)| is_land(x, y)), [false; 6]);
        assert_eq!(dry.map(|(x, y)| is_land(x, y)), [true; 7]);
        assert!(LAND.len() < 40_000);
    }
}
