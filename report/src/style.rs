//! The style sheet: the page's own, and a pair of classes for every ink that plots are drawn in.

use crate::plots::canvas::INKS;

const SHEET: &str = include_str!("style.css");

/// The style sheet, to stand in the page.
pub fn sheet() -> String {
    let inks: Vec<String> = INKS
        .iter()
        .map(|(_, name)| {
            format!(".f-{name} {{ fill: var(--{name}); }} .s-{name} {{ stroke: var(--{name}); }} .b-{name} {{ background: var(--{name}); }}\n")
        })
        .collect();
    format!("{SHEET}{}", inks.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_has_a_colour_by_day_and_by_night() {
        for (_, name) in INKS {
            assert_eq!(SHEET.matches(&format!("--{name}: #")).count(), 2, "{name}");
        }
    }

    /// Relative luminance, after WCAG 2.
    fn luminance(hex: &str) -> f64 {
        let channel = |at: usize| {
            let c = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    #[test]
    fn texts_have_the_contrast_that_wcag_asks_for() {
        for scheme in SHEET.split("@media (prefers-color-scheme: dark)").take(2) {
            let colour = |name: &str| {
                let (_, rest) = scheme.split_once(&format!("--{name}: #")).expect(name);
                luminance(&rest[..6])
            };
            for text in ["text", "muted", "good", "bad", "warn", "accent"] {
                for ground in ["card", "page"] {
                    let (a, b) = (colour(text), colour(ground));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
                }
            }
        }
    }
}
