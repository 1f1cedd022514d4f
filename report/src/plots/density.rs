//! Many places on the map: fields of two by two degrees, the darker the more addresses are in them. Dots of many
//! thousand places would run together to one patch.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::canvas::{Area, Fault, Ink};
use super::projection::project;
use crate::Place;

/// From so many places on dots give way to fields.
const MANY: usize = 500;
/// Degrees of a field.
const FIELD: f64 = 2.0;
/// How dark the fields are, the lightest first.
const SHADES: [f64; 6] = [0.16, 0.3, 0.45, 0.6, 0.78, 0.95];

/// Whether places are drawn as fields.
pub fn is_dense(places: &[Place]) -> bool {
    places.len() >= MANY
}

/// Addresses of each field, by row (from the south) and column (from the west).
fn fields(places: &[Place]) -> BTreeMap<(i32, i32), u64> {
    let mut fields = BTreeMap::new();
    for place in places.iter().filter(|p| p.latitude.is_finite() && p.longitude.is_finite()) {
        let number = |degrees: f64, most: f64| (degrees.clamp(-most, most - FIELD / 2.0) / FIELD).floor() as i32;
        let field: &mut u64 = fields.entry((number(place.latitude, 90.0), number(place.longitude, 180.0))).or_default();
        *field = field.saturating_add(place.addresses);
    }
    fields
}

/// From how many addresses on a field has each shade: steps of the same ratio, up to that of the fullest.
pub fn steps(places: &[Place]) -> Vec<u64> {
    let most = fields(places).into_values().max().unwrap_or(1).max(1) as f64;
    let mut steps: Vec<u64> =
        (0..SHADES.len()).map(|shade| most.powf(shade as f64 / SHADES.len() as f64).round() as u64).collect();
    steps.dedup();
    steps
}

/// Draws the fields. Neighbours of one shade are one shape.
pub fn draw(area: &Area, places: &[Place]) -> Result<(), Fault> {
    let steps = steps(places);
    let shade = |addresses: u64| steps.iter().rposition(|from| *from <= addresses);
    let mut open: Option<((i32, i32), i32, usize)> = None;
    let fields = fields(places);
    let shades = fields.into_iter().filter_map(|(at, addresses)| Some((at, shade(addresses)?)));
    for ((row, column), shade) in shades {
        open = match open {
            Some(((in_row, from), to, of)) if in_row == row && to == column && of == shade => {
                Some(((in_row, from), column + 1, of))
            }
            before => {
                before.map_or(Ok(()), |strip| draw_strip(area, strip))?;
                Some(((row, column), column + 1, shade))
            }
        };
    }
    open.map_or(Ok(()), |strip| draw_strip(area, strip))
}

fn draw_strip(area: &Area, ((row, from), to, shade): ((i32, i32), i32, usize)) -> Result<(), Fault> {
    let degrees = |number: i32| f64::from(number) * FIELD;
    let corners = [(from, row), (to, row), (to, row + 1), (from, row + 1)];
    let points: Vec<(i32, i32)> = corners.map(|(column, row)| project(degrees(column), degrees(row))).into();
    area.draw(&Polygon::new(points, Ink::Accent.colour().mix(SHADES[shade]).filled()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64, addresses: u64) -> Place {
        Place { latitude, longitude, addresses }
    }

    #[test]
    fn every_address_is_in_its_field() {
        let places = [place(51.5, -0.1, 5), place(50.1, -1.9, 7), place(90.0, 180.0, 1), place(-90.0, -180.0, 2)];
        let fields = fields(&places);
        assert_eq!(fields.get(&(25, -1)), Some(&12));
        assert_eq!((fields.get(&(44, 89)), fields.get(&(-45, -90))), (Some(&1), Some(&2)));
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn shades_are_steps_of_one_ratio() {
        assert_eq!(steps(&[place(0.0, 0.0, 1_000_000)]), [1, 10, 100, 1_000, 10_000, 100_000]);
        assert_eq!(steps(&[place(0.0, 0.0, 1)]), [1]);
        assert_eq!(steps(&[]), [1]);
    }

    #[test]
    fn a_large_inventory_is_drawn_as_fields_and_neighbours_are_one_shape() {
        // A belt of one density all around the globe, and one denser field in it.
        let mut places: Vec<Place> = (0..180).map(|column| place(11.0, f64::from(column) * 2.0 - 179.0, 1)).collect();
        places.extend((0..MANY).map(|_| place(11.0, 1.0, 100)));
        let plot = crate::plots::map::map("m", "", &places);
        assert_eq!(plot.matches("<circle").count(), 0);
        assert_eq!(plot.matches("opacity=\"0.16\"").count(), 2, "left and right of the denser one");
        assert_eq!(plot.matches("opacity=\"0.95\"").count(), 1);
        let few = crate::plots::map::map("m", "", &places[..180]);
        assert_eq!((few.matches("<circle").count(), few.matches("opacity=\"0.16\"").count()), (180, 0));
    }
}
