//! The projection of maps, Equal Earth: areas are true, so that countries look as large as they are.

/// Twice as fine as the widest page shows it: the backend draws in whole pixels.
pub const WIDTH: u32 = 2240;
pub const HEIGHT: u32 = 970;
/// The southern edge of the map: no places are further south.
const SOUTH: f64 = -56.5;
const NORTH: f64 = 83.7;

/// Degrees to pixels.
pub fn project(longitude: f64, latitude: f64) -> (i32, i32) {
    let (east, _) = equal_earth(180.0, 0.0);
    let ((_, north), (_, south)) = (equal_earth(0.0, NORTH), equal_earth(0.0, SOUTH));
    let (x, y) = equal_earth(longitude, latitude);
    let x = (x / east + 1.0) / 2.0 * f64::from(WIDTH);
    let y = (north - y) / (north - south) * f64::from(HEIGHT);
    (x.round() as i32, y.round() as i32)
}

/// The Equal Earth projection as published in 2018, on a sphere of radius 1.
fn equal_earth(longitude: f64, latitude: f64) -> (f64, f64) {
    const A: [f64; 4] = [1.340264, -0.081106, 0.000893, 0.003796];
    let half = 3f64.sqrt() / 2.0;
    let t = (half * latitude.to_radians().sin()).asin();
    let (t2, t6) = (t * t, t.powi(6));
    let x = longitude.to_radians() * t.cos() / (half * (A[0] + 3.0 * A[1] * t2 + t6 * (7.0 * A[2] + 9.0 * A[3] * t2)));
    (x, t * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_has_the_published_shape() {
        // The width of Equal Earth to its height is 2.05458.
        let ratio = equal_earth(180.0, 0.0).0 / equal_earth(0.0, 90.0).1;
        assert!((ratio - 2.05458).abs() < 1e-4, "{ratio}");
        assert_eq!(project(0.0, NORTH), (WIDTH as i32 / 2, 0));
        let shape = f64::from(WIDTH) / f64::from(HEIGHT);
        let true_shape = 2.0 * equal_earth(180.0, 0.0).0 / (equal_earth(0.0, NORTH).1 - equal_earth(0.0, SOUTH).1);
        assert!((shape - true_shape).abs() < 0.02, "{shape} {true_shape}");
    }
}
