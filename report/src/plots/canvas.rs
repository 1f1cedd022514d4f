//! The canvas of all plots: an SVG image in the page's own colours, with a text alternative.
//!
//! The backend writes colours as numbers. To follow the page's dark setting, each of ours is a marker, `#01xx01`, that
//! is turned into a CSS class once the image is drawn.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::escape;

/// Height of text, in pixels.
pub const TEXT: f64 = 13.0;
/// The backend writes a font's size divided by this.
const FONT_SCALE: f64 = 1.24;

/// Where plots draw.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// The error of drawing. In practice there is none: it goes into a string.
pub type Fault = Box<dyn std::error::Error>;

/// The colours by their meaning. Each is a custom property of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text.
    Text,
    /// Text of less weight.
    Muted,
    /// Lines that guide the eye.
    Grid,
    /// The track that a bar runs on.
    Track,
    /// The first series.
    Accent,
    /// The second series.
    Second,
    /// Land on the map.
    Land,
    /// Water on the map.
    Sea,
    /// A known address.
    Found,
    /// An unknown one.
    NotFound,
    /// One that is still to be asked about.
    Pending,
    /// One without an answer.
    Failed,
    /// One that has to wait for the next quota.
    Quota,
    /// One that is not asked about.
    Skipped,
    /// One that nothing installed could answer.
    Unavailable,
    /// A known and harmless scanner.
    Benign,
}

/// All inks with their names in the style sheet.
pub const INKS: [(Ink, &str); 16] = [
    (Ink::Text, "text"),
    (Ink::Muted, "muted"),
    (Ink::Grid, "grid"),
    (Ink::Track, "track"),
    (Ink::Accent, "accent"),
    (Ink::Second, "second"),
    (Ink::Land, "land"),
    (Ink::Sea, "sea"),
    (Ink::Found, "found"),
    (Ink::NotFound, "not-found"),
    (Ink::Pending, "pending"),
    (Ink::Failed, "failed"),
    (Ink::Quota, "quota"),
    (Ink::Skipped, "skipped"),
    (Ink::Unavailable, "unavailable"),
    (Ink::Benign, "benign"),
];

impl Ink {
    /// The marker that stands for it while drawing.
    pub fn colour(self) -> RGBColor {
        RGBColor(1, self as u8, 1)
    }

    /// Its name in the style sheet.
    pub fn name(self) -> &'static str {
        INKS.iter().find(|(ink, _)| *ink == self).map_or("text", |(_, name)| name)
    }
}

/// An image, finished or in place of one.
pub struct Picture(String);

impl Picture {
    /// Draws an image of `size`. `id` is unique in the page; `title` and `about` are read aloud instead of it.
    pub fn draw(
        id: &str,
        size: (u32, u32),
        title: &str,
        about: &str,
        draw: impl FnOnce(&Area) -> Result<(), Fault>,
    ) -> Picture {
        let mut drawn = String::new();
        let result = {
            let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
            draw(&area).and_then(|()| Ok(area.present()?))
        };
        match result {
            Ok(()) => Picture(finish(&drawn, id, size, title, about)),
            Err(fault) => {
                Picture(format!("<p class=\"note\">not drawn: {}</p>", escape::html(&fault.to_string(), 200)))
            }
        }
    }

    /// As it stands in the page.
    pub fn svg(&self) -> &str {
        &self.0
    }
}

/// Gives the image its size by the page, its words, and its colours by the style sheet.
fn finish(drawn: &str, id: &str, (width, height): (u32, u32), title: &str, about: &str) -> String {
    let body = drawn.split_once(">\n").map_or("", |(_, body)| body);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n<title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n{body}",
        escape::html(title, 200),
        escape::html(about, 2000)
    );
    for noise in [" opacity=\"1\"", " stroke=\"none\"", " font-family=\"sans-serif\""] {
        svg = svg.replace(noise, "");
    }
    for (ink, name) in INKS {
        let RGBColor(r, g, b) = ink.colour();
        svg = svg.replace(&format!("fill=\"#{r:02X}{g:02X}{b:02X}\""), &format!("class=\"f-{name}\""));
        svg = svg.replace(&format!("stroke=\"#{r:02X}{g:02X}{b:02X}\""), &format!("class=\"s-{name}\""));
    }
    svg
}

/// A filled rectangle; none thinner than a pixel, since something that is there should be seen.
pub fn rectangle(area: &Area, (x, y): (i32, i32), (width, height): (i32, i32), ink: Ink) -> Result<(), Fault> {
    let style = ink.colour().filled();
    area.draw(&Rectangle::new([(x, y), (x + width.max(1), y + height.max(1))], style))?;
    Ok(())
}

/// A straight line.
pub fn line(area: &Area, from: (i32, i32), to: (i32, i32), ink: Ink) -> Result<(), Fault> {
    area.draw(&PathElement::new(vec![from, to], ink.colour().stroke_width(1)))?;
    Ok(())
}

/// Text that begins, ends or is centred at a point.
pub fn text(area: &Area, text: &str, at: (i32, i32), side: HPos, ink: Ink) -> Result<(), Fault> {
    let colour = ink.colour();
    let style =
        TextStyle::from(("sans-serif", TEXT * FONT_SCALE).into_font()).color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_has_a_name_and_a_marker_of_its_own() {
        for (i, (ink, name)) in INKS.iter().enumerate() {
            assert_eq!(*ink as usize, i, "{name}");
            assert_eq!(ink.name(), *name);
        }
    }

    #[test]
    fn text_is_escaped_and_colours_are_classes() {
        let picture = Picture::draw("x", (100, 50), "a <b>", "c & d", |area| {
            rectangle(area, (0, 0), (10, 10), Ink::Accent)?;
            line(area, (0, 0), (9, 9), Ink::Grid)?;
            text(area, "<script>\"'&", (1, 2), HPos::Left, Ink::Text)
        });
        let tree = roxmltree::Document::parse(picture.svg()).expect("well-formed");
        let texts: Vec<_> = tree.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).collect();
        assert_eq!(texts, ["<script>\"'&\n"].map(|t| format!("\n{t}")));
        let classes: Vec<_> = tree.descendants().filter_map(|n| n.attribute("class")).collect();
        assert_eq!(classes, ["f-accent", "s-grid", "f-text"]);
        assert!(!picture.svg().contains('#'), "a colour was left: {}", picture.svg());
    }
}
